"""`basicsr restore`: what users do with it, and what can go wrong."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

import constyle_arch
from constyle_arch.checkpoints.trained import located
from constyle_arch.errors import CheckpointError, DataError, OptionsError, RunError
from constyle_arch.images import to_float
from constyle_arch.inference import memory
from constyle_arch.inference.photographs import pipeline
from constyle_arch.inference.photographs.finding import find_jobs, find_truths
from constyle_arch.inference.photographs.photograph import Photograph, read_photograph, readable
from constyle_arch.inference.photographs.pipeline import restore_photographs
from constyle_arch.inference.photographs.restorer import Restorer
from constyle_arch.tiles import COST
from tests.processes import COMMAND, Command, run_command
from tests.shared import (
    PROFILE,
    broken_files,
    directly_restored,
    exif,
    picture,
    random_network,
    restore_command,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save({"params": random_network().state_dict()}, path)
    return path


def write_all_kinds(folder):
    """Twenty images of all kinds in a tree, three of them broken; names of the broken ones."""
    (folder / "holiday" / "day one").mkdir(parents=True)
    (folder / ".thumbnails").mkdir()
    rgb, rgba, deep, deep4 = (
        picture(),
        picture(channels=4),
        picture(bits=16),
        picture(channels=4, bits=16),
    )
    cmyk_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(rgb).save(folder / "colour.png")
    Image.fromarray(rgb).save(folder / "colour.JPG", quality=98)
    Image.fromarray(rgb).save(folder / "colour.jpeg", quality=98)
    Image.fromarray(rgb).save(folder / "colour.webp", lossless=True)
    Image.fromarray(rgb).save(folder / "colour.bmp")
    Image.fromarray(rgb).save(folder / "colour.tif")
    Image.fromarray(rgb[..., 0]).save(folder / "gray.png")
    Image.fromarray(rgb[..., 0]).save(folder / "gray.tiff", compression="tiff_lzw")
    Image.fromarray(rgba).save(folder / "holiday" / "alpha.png")
    Image.fromarray(rgba).save(folder / "holiday" / "alpha.webp", lossless=True)
    Image.fromarray(rgb).save(
        folder / "holiday" / "turned.jpg", exif=exif(6), icc_profile=PROFILE, quality=98
    )
    Image.fromarray(rgb).save(folder / "holiday" / "profile.png", icc_profile=PROFILE)
    Image.fromarray(rgb).convert("CMYK").save(
        folder / "holiday" / "print.jpg", icc_profile=cmyk_profile
    )
    Image.fromarray(rgb).convert("P").save(folder / "holiday" / "day one" / "palette.png")
    cv2.imwrite(str(folder / "holiday" / "day one" / "deep.png"), deep[..., ::-1])
    tifffile.imwrite(
        folder / "holiday" / "day one" / "deep.alpha.tif",
        deep4,
        photometric="rgb",
        extrasamples=[2],
    )
    cv2.imwrite(str(folder / "holiday" / "day one" / "deep gray.png"), deep[..., 0])
    for name in ("cut.png", "cut.jpg", "text.jpg"):
        (folder / "holiday" / name).write_bytes(broken_files()[name][0])
    (folder / "notes.txt").write_text("no image")
    Image.fromarray(rgb).save(folder / ".thumbnails" / "hidden.png")
    return {f"holiday/{name}" for name in ("cut.png", "cut.jpg", "text.jpg")}


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_folder_of_all_kinds_with_three_broken_ones(tmp_path, weights, capsys):
    source, target = tmp_path / "photos", tmp_path / "restored"
    broken = write_all_kinds(source)
    images = {name for name in files_in(source) if not name.startswith(".") and name != "notes.txt"}
    assert len(images) == 20
    before = {name: (source / name).read_bytes() for name in files_in(source)}

    assert restore_command("-i", source, "-o", target, "--weights", weights) == 1

    assert files_in(target) == images - broken
    assert {name: (source / name).read_bytes() for name in files_in(source)} == before
    for name in images - broken:
        given, restored = read_photograph(source / name), read_photograph(target / name)
        assert restored.pixels.shape == given.pixels.shape, name
        assert restored.pixels.dtype == given.pixels.dtype, name
        assert restored.profile == given.profile, name
        assert restored.exif == given.exif, name
        wanted = directly_restored(given.pixels, weights)
        lossy = name.rpartition(".")[2].lower() in ("jpg", "jpeg", "webp")
        difference = np.abs(restored.pixels.astype(float) - wanted) / np.iinfo(wanted.dtype).max
        assert difference.max() <= (1 if lossy else 0) or difference.mean() < 0.01, name
        if given.alpha is not None:
            assert np.array_equal(restored.alpha, given.alpha), name
    output = capsys.readouterr().out
    assert "Restored 17" in output
    assert "Failed 3:" in output
    for name in broken:
        assert output.count(str(source / name)) == 2  # when it failed, and at the end


def test_second_run_skips_what_is_there_and_says_what_is_older(tmp_path, weights, capsys):
    own = shutil.copy(weights, tmp_path / "own.pth")
    for name in ("a.png", "b.png"):
        Image.fromarray(picture()).save(tmp_path / name)
    arguments = (
        "-i",
        tmp_path / "a.png",
        tmp_path / "b.png",
        "-o",
        tmp_path / "out",
        "--weights",
        own,
    )
    assert restore_command(*arguments) == 0
    (tmp_path / "out" / "b.png").unlink()
    first = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    assert restore_command(*arguments) == 0
    output = capsys.readouterr().out
    assert "Restored 1" in output
    assert "Skipped 1 whose names" in output
    assert "are older" not in output
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == first
    os.utime(own, (time.time() + 60, time.time() + 60))
    assert restore_command(*arguments) == 0
    assert "2 of them are older than their photograph or the weights" in capsys.readouterr().out
    assert restore_command(*arguments, "--overwrite") == 0
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns > first


def test_next_photograph_is_read_and_the_last_written_while_one_is_restored(tmp_path, monkeypatch):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(8, 12))
    reached = {
        (what, str(number)): threading.Event()
        for what in ("read", "written")
        for number in range(3)
    }
    read, write = pipeline.read_photograph, pipeline.write_photograph

    def reading(path, *args):
        reached["read", path.stem].set()
        return read(path, *args)

    def writing(photograph, path, *args):
        write(photograph, path, *args)
        reached["written", path.stem].set()

    class Waiting(Restorer):
        number = 0

        def restored(self, photograph):
            beside = {
                ("read", str(self.number + 1)),
                ("written", str(self.number - 1)),
            } & reached.keys()
            assert all(reached[one].wait(20) for one in beside)
            self.number += 1
            return photograph

    monkeypatch.setattr(pipeline, "read_photograph", reading)
    monkeypatch.setattr(pipeline, "write_photograph", writing)
    jobs = find_jobs([str(tmp_path)], str(tmp_path / "out"))
    summary = restore_photographs(jobs, Waiting(random_network()))
    assert (summary.restored, summary.failed) == (3, {})


def test_no_input_is_ever_overwritten(tmp_path, weights, capsys):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    (tmp_path / "link").symlink_to(tmp_path)
    before = path.read_bytes()
    for output in (tmp_path, path, tmp_path / "link"):
        assert restore_command("-i", path, "-o", output, "--weights", weights, "--overwrite") == 2
        assert "would be overwritten; name another folder" in capsys.readouterr().err
    assert (
        restore_command("-i", path, "-o", tmp_path, "--weights", weights, "--suffix", "_clean") == 0
    )
    assert path.read_bytes() == before
    assert files_in(tmp_path) >= {"a.png", "a_clean.png"}


def test_output_below_the_input_is_not_restored_again(tmp_path, weights):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    for _ in range(2):
        assert (
            restore_command(
                "-i", tmp_path, "-o", tmp_path / "out", "--weights", weights, "--compare"
            )
            == 0
        )
        assert files_in(tmp_path) == {"a.png", "out/a.png", "out/a_comparison.jpg"}


def test_results_beside_their_photographs_are_not_restored_again(tmp_path, weights, capsys):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    for _ in range(2):
        flags = ("--weights", weights, "--compare", "--suffix", "_r")
        assert restore_command("-i", tmp_path, "-o", tmp_path, *flags) == 0
        assert files_in(tmp_path) == {"a.png", "a_r.png", "a_r_comparison.jpg"}
    assert "Skipped 1" in capsys.readouterr().out


def test_nothing_else_is_overwritten_either(tmp_path, weights, capsys):
    for name in ("in/x.jpg", "in/x_comparison.jpg", "gt/x.jpg", "twins/a.jpg", "twins/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture()).save(tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    flags = ("--weights", weights, "--overwrite")
    assert restore_command("-i", tmp_path / "in", "-o", tmp_path / "out", *flags, "--compare") == 2
    assert "x_comparison.jpg would both become" in capsys.readouterr().err
    assert (
        restore_command(
            "-i", tmp_path / "in" / "x.jpg", "-o", tmp_path / "gt", *flags, "--gt", tmp_path / "gt"
        )
        == 2
    )
    assert "gt/x.jpg would be overwritten" in capsys.readouterr().err
    assert (
        restore_command("-i", tmp_path / "twins", "-o", tmp_path / "out", *flags, "--compare") == 0
    )
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert files_in(tmp_path / "out") == {
        "a.jpg",
        "a.png",
        "a_jpg_comparison.jpg",
        "a_png_comparison.jpg",
    }


@pytest.mark.parametrize("size", [(3, 600), (600, 3), (1, 1), (20, 300)])
def test_thin_images_are_compared_too(tmp_path, weights, size):
    Image.fromarray(picture(*size)).save(tmp_path / "a.png")
    flags = ("--weights", weights, "--compare", "--gt", tmp_path / "a.png")
    assert restore_command("-i", tmp_path / "a.png", "-o", tmp_path / "out", *flags) == 0
    assert read_photograph(tmp_path / "out" / "a.png").pixels.shape == (*size, 3)
    assert cv2.imread(str(tmp_path / "out" / "a_comparison.jpg")) is not None


def test_odd_things_in_a_folder_do_not_stop_it(tmp_path, weights, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (out / "taken.png").mkdir(parents=True)
    for name in ("good.png", "taken.png", "l" * 246 + ".png"):
        Image.fromarray(picture()).save(folder / name)
    (folder / "itself.png").symlink_to("itself.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    assert restore_command("-i", folder, "-o", out, "--weights", weights, "--suffix", "") == 1
    output = capsys.readouterr().out
    assert files_in(out) == {"good.png", "l" * 246 + ".png"}
    assert "taken.png is a folder" in output
    assert "itself.png: cannot be read" in output
    assert "Failed 2" in output


def test_two_processes_may_write_one_folder(tmp_path, weights):
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.fromarray(picture()).save(tmp_path / "in" / f"{number}.png")
    command = ("restore", "-i", "in", "-o", "out", "--weights", weights, "--overwrite")
    processes = [Command(*command, cwd=tmp_path) for _ in range(2)]
    assert [process.wait().returncode for process in processes] == [0, 0]
    wanted = directly_restored(picture(), weights)
    assert files_in(tmp_path / "out") == {f"{number}.png" for number in range(6)}
    for number in range(6):
        assert np.array_equal(read_photograph(tmp_path / "out" / f"{number}.png").pixels, wanted)


def test_names_of_files_folders_and_patterns(tmp_path):
    for name in (
        "a.png",
        "tree/b.JPG",
        "tree/deep/c.v1.tif",
        "tree/deep/c.v1.jpg",
        "tree/.hidden.png",
        "tree/d.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def targets(*inputs, **options):
        jobs = find_jobs([str(tmp_path / one) for one in inputs], "out", **options)
        return sorted(job.target.as_posix() for job in jobs)

    assert targets("tree") == ["out/b.JPG", "out/deep/c.v1.jpg", "out/deep/c.v1.tif"]
    assert targets("a.png", "tree") == [
        "out/a.png",
        "out/b.JPG",
        "out/deep/c.v1.jpg",
        "out/deep/c.v1.tif",
    ]
    assert targets("tree/**/*.tif") == ["out/deep/c.v1.tif"]
    assert targets("*/b.*") == ["out/tree/b.JPG"]
    assert targets("tre?") == ["out/tree/b.JPG", "out/tree/deep/c.v1.jpg", "out/tree/deep/c.v1.tif"]
    assert targets("a.png", suffix="_x", extension=".jpg") == ["out/a_x.jpg"]
    [job] = find_jobs([str(tmp_path / "a.png")], "some/where.webp")
    assert job.target.as_posix() == "some/where.webp"
    with pytest.raises(
        DataError, match=r"c\.v1\.jpg and .*c\.v1\.tif would both become out/deep/c\.v1\.png"
    ):
        targets("tree", extension=".png")
    with pytest.raises(
        DataError, match="nowhere does not exist; name an image, a folder, or a pattern"
    ):
        targets("nowhere")
    with pytest.raises(
        DataError,
        match=r"d\.txt is no image by its name; wanted a file ending in .*\.bmp, .*\.jpeg",
    ):
        targets("tree/d.txt")
    with pytest.raises(DataError, match="no images are there"):
        targets("tree/*.gif")
    with pytest.raises(DataError, match="is a file; name a folder"):
        find_jobs([str(tmp_path / "tree")], str(tmp_path / "a.png"))
    # one image, however it is named
    [job] = find_jobs([str(tmp_path / "a.*"), str(tmp_path / "a.png")], "one.png")
    assert job.target.as_posix() == "one.png"
    with pytest.raises(OptionsError, match="names the file to write; leave --suffix and --ext out"):
        find_jobs([str(tmp_path / "a.png")], "one.png", suffix="_x")
    with pytest.raises(DataError, match="is no pattern"):
        targets("tree/**.jpg")
    with pytest.raises(OptionsError, match="-i is empty"):
        find_jobs([""], "out")
    with pytest.raises(OptionsError, match="-o is empty"):
        find_jobs(["a.png"], "")


def test_name_of_a_file_does_not_become_a_folder(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(
        OptionsError, match=r"-o x\.gif: such files are not written; end the name in one of \.bmp,"
    ):
        find_jobs([str(tmp_path / "a.png")], "x.gif")
    with pytest.raises(
        OptionsError, match=r"-o x\.png is the name of one file, but there are 2 images"
    ):
        find_jobs([str(tmp_path)], "x.png")
    (tmp_path / "x.gif").mkdir()
    assert len(find_jobs([str(tmp_path)], str(tmp_path / "x.gif"))) == 2


def test_weights_of_an_experiment_are_its_best_or_its_newest(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    with pytest.raises(CheckpointError, match="holds no network"):
        located(tmp_path)
    for name in ("net_g_900.pth", "net_g_1000.pth"):
        (models / name).touch()
    assert located(tmp_path).name == "net_g_1000.pth"
    (models / "net_g_latest.pth").touch()
    assert located(models).name == "net_g_latest.pth"
    (models / "net_g_best.pth").touch()
    assert located(tmp_path).name == "net_g_best.pth"
    assert located(models / "net_g_900.pth").name == "net_g_900.pth"


def test_averaged_weights_are_preferred(tmp_path):
    networks = [random_network(seed) for seed in (0, 1)]
    models = tmp_path / "experiment" / "models"
    models.mkdir(parents=True)
    torch.save(
        {"params": networks[0].state_dict(), "params_ema": networks[1].state_dict()},
        models / "net_g_best.pth",
    )
    torch.save({"params": networks[1].state_dict()}, tmp_path / "averaged.pth")
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert (
        restore_command(
            "-i", tmp_path / "a.png", "-o", tmp_path / "b.png", "--weights", models.parent
        )
        == 0
    )
    wanted = directly_restored(picture(), tmp_path / "averaged.pth")
    assert np.array_equal(read_photograph(tmp_path / "b.png").pixels, wanted)


def test_comparison_with_the_truth_is_scored(tmp_path, weights, capsys):
    (tmp_path / "lq").mkdir()
    (tmp_path / "gt").mkdir()
    clean = picture(100, 120)
    noise = np.random.default_rng(0).normal(0, 20, clean.shape)
    Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)).save(tmp_path / "lq" / "a.png")
    Image.fromarray(clean).save(tmp_path / "lq" / "alone.png")
    Image.fromarray(clean).save(tmp_path / "gt" / "a.jpg", quality=100)
    flags = ("--weights", weights, "--compare", "--gt", tmp_path / "gt")
    assert restore_command("-i", tmp_path / "lq", "-o", tmp_path / "out", *flags) == 0
    output = capsys.readouterr().out
    assert re.search(r"Not scored 1 without a clean image of their name.*\n.*alone\.png", output)
    assert (tmp_path / "out" / "alone.png").exists()
    degraded, restored, truth = (
        read_photograph(tmp_path / name).pixels.astype(float)
        for name in ("lq/a.png", "out/a.png", "gt/a.jpg")
    )
    for image in (degraded, restored):
        psnr = 10 * np.log10(255**2 / np.mean((image - truth) ** 2))
        assert f"{psnr:.4f}" in output
    height, width = cv2.imread(str(tmp_path / "out" / "a_comparison.jpg")).shape[:2]
    assert width > 3 * 120
    assert height > 100 + 20


def test_truths_are_found_by_the_form_of_their_names(tmp_path):
    for name in (
        "lq/rain-1.png",
        "lq/deep/rain-2.png",
        "gt/norain-1.jpg",
        "gt/deep/norain-2.bmp",
        "gt/norain-3.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    jobs = find_jobs([str(tmp_path / "lq")], "out", suffix="_restored")
    truths = find_truths(jobs, str(tmp_path / "gt"), "{}rain-{}", "{}norain-{}")
    assert {source.name: clean.name for source, clean in truths.items()} == {
        "rain-2.png": "norain-2.bmp"
    }
    one = find_jobs([str(tmp_path / "lq" / "rain-1.png")], "out")
    assert (
        find_truths(one, str(tmp_path / "gt"), "rain-{}", "norain-{}")[one[0].source].name
        == "norain-1.jpg"
    )
    assert (
        find_truths(one, str(tmp_path / "gt" / "norain-3.png"))[one[0].source].name
        == "norain-3.png"
    )
    assert find_truths(one, str(tmp_path / "gt")) == {}
    with pytest.raises(DataError, match="is one image, but there are 2 to restore; name a folder"):
        find_truths(jobs, str(tmp_path / "gt" / "norain-3.png"))
    (tmp_path / "gt" / "norain-3.jpg").touch()
    with pytest.raises(DataError, match=r"--gt: .*norain-3\.jpg and .*norain-3\.png have one name"):
        find_truths(jobs, str(tmp_path / "gt"))


@pytest.mark.parametrize("flag", ["--bf16", "--half"])
def test_half_precision_restores_about_the_same(tmp_path, weights, flag):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert (
        restore_command(
            "-i", tmp_path / "a.png", "-o", tmp_path / "b.png", "--weights", weights, flag
        )
        == 0
    )
    difference = read_photograph(tmp_path / "b.png").pixels.astype(int) - directly_restored(
        picture(), weights
    )
    assert np.abs(difference).mean() < 2


def test_self_ensemble_is_the_mean_of_eight_views(tmp_path, weights):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    flags = ("--weights", weights, "--self-ensemble")
    assert restore_command("-i", tmp_path / "a.png", "-o", tmp_path / "b.png", *flags) == 0
    network, image = (
        constyle_arch.load_network(weights),
        torch.from_numpy(to_float(picture())).permute(2, 0, 1)[None],
    )
    with torch.no_grad():
        views = []
        for transposed in (False, True):
            for axes in ((), (2,), (3,), (2, 3)):
                view = (image.transpose(2, 3) if transposed else image).flip(axes)
                view = network(view).flip(axes)
                views.append(view.transpose(2, 3) if transposed else view)
    wanted = (
        torch.stack(views)
        .mean(dim=0)[0]
        .permute(1, 2, 0)
        .clamp(0, 1)
        .mul(255)
        .round()
        .byte()
        .numpy()
    )
    got = read_photograph(tmp_path / "b.png").pixels
    assert np.abs(got.astype(int) - wanted).max() <= 1
    assert not np.array_equal(got, directly_restored(picture(), weights))


class Overflowing(torch.nn.Module):
    """Brightens by 0.1; in half precision its result is not finite, or has lost its colour, as
    `made` says."""

    def __init__(self, made):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.made = made

    def forward(self, image):
        return (
            torch.full_like(image, self.made)
            if torch.is_autocast_enabled("cpu")
            else image + 0.1 * self.weight
        )


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (np.inf, "the result holds numbers that are not finite"),
        (0.95, "the mean colour moves from (51, 51, 51) to"),
    ],
)
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_what_half_precision_spoils_is_restored_again_in_float32(made, what, precision):
    said, photograph = [], Photograph(np.full((20, 24, 3), 51, np.uint8))
    restored = Restorer(Overflowing(made), precision=precision, say=said.append).restored(
        photograph
    )
    np.testing.assert_array_equal(restored.pixels, np.full((20, 24, 3), round(51 + 25.5), np.uint8))
    assert len(said) == 1
    assert what in said[0]
    assert said[0].endswith("restored again in float32.")


def test_strength_blends_with_the_input(tmp_path, weights):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    results = {}
    for strength in ("0", "0.25", "1"):
        target = tmp_path / f"{strength}.png"
        assert (
            restore_command(
                "-i", tmp_path / "a.png", "-o", target, "--weights", weights, "--strength", strength
            )
            == 0
        )
        results[strength] = cv2.imread(str(target)).astype(float)
    np.testing.assert_array_equal(results["0"], cv2.imread(str(tmp_path / "a.png")))
    unclipped = (results["1"] > 0) & (results["1"] < 255)
    blended = 0.75 * results["0"] + 0.25 * results["1"]
    assert np.abs(results["0.25"] - blended)[unclipped].max() <= 0.75  # both were rounded
    assert np.abs(results["1"] - results["0"]).mean() > 5


def test_tiles_are_halved_when_memory_runs_out(monkeypatch):
    asked, said = [], []

    def restore(network, colors, *, tile, **options):
        asked.append((tile, options["overlap"]))
        if tile is None or tile > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return colors

    monkeypatch.setattr(f"{Restorer.__module__}.restore", restore)
    monkeypatch.setattr(f"{Restorer.__module__}.fitting_tile", lambda *_: None)
    restorer = Restorer(random_network(), say=said.append)
    photograph = Photograph(np.zeros((300, 700, 3), np.uint8))
    restorer.restored(photograph)
    restorer.restored(photograph)
    assert asked == [(None, 32), (350, 32), (175, 32), (87, 32), (87, 32)]  # it is remembered
    assert said == [
        f"Memory ran out; continuing in tiles of {tile} ({COST})." for tile in (350, 175, 87)
    ]
    with pytest.raises(RunError, match="memory ran out, in tiles of 101 pixels too"):
        Restorer(random_network(), tile=101, say=said.append).restored(photograph)


def test_tiles_are_chosen_by_the_memory_there_is(monkeypatch):
    network, said = random_network(), []
    whole = memory.memory_of(network, 520, 640)
    for free, wanted in (
        (1e12, None),
        (2.25 * memory.memory_of(network, 256, 256) + 24 * 3 * 520 * 640 + 1, 256),
        (0, 64),
    ):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        assert memory.fitting_tile(network, 520, 640) == wanted
    assert memory.memory_of(network, 256, 256) < whole / 4
    monkeypatch.setattr(memory, "free_memory", lambda device: 0)
    Restorer(network, say=said.append).restored(Photograph(np.zeros((80, 100, 3), np.uint8)))
    assert said == [
        f"Images of 100×80 pixels are restored in tiles of 64: memory would not do ({COST})."
    ]


def test_estimate_of_memory_is_what_is_allocated():
    """Against the allocator's own count of a forward pass that runs."""
    network, lq = random_network(), torch.rand(1, 3, 256, 320)
    with torch.profiler.profile(profile_memory=True) as profile, torch.no_grad():
        network(lq)
    now = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    assert peak > 0
    assert 0.7 * peak < memory.memory_of(network, 256, 320) < 1.5 * peak


def test_limits_of_a_container_are_respected(tmp_path):
    for name, content in {
        "memory.max": "1000000\n",
        "memory.current": "700000\n",
        "memory.stat": "anon 5\ninactive_file 100000\n",
    }.items():
        (tmp_path / name).write_text(content)
    assert memory._free_in_control_group(tmp_path) == 400000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_in_control_group(tmp_path) == float("inf")
    assert memory._free_in_control_group(tmp_path / "none") == float("inf")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_real_shortage_of_memory_is_survived_in_tiles(tmp_path, weights):
    Image.fromarray(picture(1200, 1300)).save(tmp_path / "a.png")
    flags = ["-i", "a.png", "-o", "b.png", "--weights", str(weights), "--device", "cpu"]
    room = 2 * 2**30

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (room, room))  # the estimate does not know of it

    result = subprocess.run(
        [*COMMAND, "restore", *flags],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Memory ran out; continuing in tiles of 650." in result.stdout
    assert read_photograph(tmp_path / "b.png").pixels.shape == (1200, 1300, 3)


def test_killed_in_the_middle_a_second_run_completes_the_folder(tmp_path, weights):
    (tmp_path / "in").mkdir()
    images = {f"{number}.png" for number in range(8)}
    for name in images:
        Image.fromarray(picture()).save(tmp_path / "in" / name)
    (tmp_path / "killed.py").write_text(
        "import os, signal\n"
        "from constyle_arch.inference.photographs import photograph\n"
        "save, saved = photograph.save_bytes_atomically, []\n"
        "def save_three(*arguments):\n"
        "    if len(saved) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    saved.append(save(*arguments))\n"
        "photograph.save_bytes_atomically = save_three\n"
    )
    command = ("restore", "-i", "in", "-o", "out", "--weights", weights)
    killed = run_command(*command, "--plugin", "killed.py", cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    there = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(there) == 3
    wanted = directly_restored(picture(), weights)
    for name in there:
        assert np.array_equal(read_photograph(tmp_path / "out" / name).pixels, wanted)
    assert run_command(*command, cwd=tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == images
    for name, content in there.items():
        assert (tmp_path / "out" / name).read_bytes() == content


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--strength", "1.5"], r"--strength is 1\.5; it must lie in \[0, 1\]"),
        (["--strength", "nan"], "--strength is nan"),
        (["--tile", "0"], "--tile is 0; it must be at least 1 pixel"),
        (
            ["--tile", "64", "--tile-overlap", "60"],
            r"--tile-overlap is 60 with --tile 64; it must lie in \[0, 56\]",
        ),
        (["--weights", "none.pth"], "none.pth does not exist"),
        (["--gt", "none"], "--gt: the folder none does not exist"),
        (["--device", "quantum"], "--device is quantum; it must be one of cpu, cuda, mps, xpu"),
        (["--device", "meta"], "--device is meta"),
        (["--suffix", "/../x"], "must not hold a slash"),
        (["--quality", "0"], r"--quality is 0; it must lie in \[1, 100\]"),
        (["--quality", "90"], "--quality is of JPEG and WebP files, and none would be written"),
        (["--max-megapixels", "0"], "--max-megapixels is 0; it must be a number above 0"),
        (["--tile-overlap", "-1"], "--tile-overlap is -1; it must be 0 or more"),
        (["--gt", ""], "--gt is empty"),
    ],
)
def test_wrong_flags_are_one_clear_error(tmp_path, weights, capsys, flags, message):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert (
        restore_command(
            "-i", tmp_path / "a.png", "-o", tmp_path / "out", "--weights", weights, *flags
        )
        == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extension", ["jpg", "webp"])
def test_quality_decides_how_large_files_are(tmp_path, weights, extension):
    Image.fromarray(picture(100, 120)).save(tmp_path / "a.png")
    sizes = []
    for quality in ((), ("--quality", "95"), ("--quality", "30")):
        flags = ("--weights", weights, "--ext", extension, "--overwrite", *quality)
        assert restore_command("-i", tmp_path / "a.png", "-o", tmp_path / "out", *flags) == 0
        sizes.append((tmp_path / "out" / f"a.{extension}").stat().st_size)
    assert sizes[0] == sizes[1]
    assert sizes[2] < 0.7 * sizes[1]


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path, weights, capsys):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    for name in ("b.CR2", "deep/c.cr2", "d.mp4", "README", ".hidden.mov", "out/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    flags = ("-o", tmp_path / "out", "--weights", weights)
    assert restore_command("-i", tmp_path, tmp_path / "*", *flags) == 0
    assert (
        "Not read, for their names: 2 .cr2, 1 without a suffix, 1 .mp4.\n"
        in capsys.readouterr().out
    )
    assert restore_command("-i", tmp_path / "deep", *flags) == 2
    assert "deep: no images are there, but 1 .cr2; wanted are " in capsys.readouterr().err


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    readable.cache_clear()
    yield
    readable.cache_clear()


def test_without_the_extra_heic_is_named_with_what_it_needs(
    tmp_path, weights, capsys, without_heif
):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "b.HEIC").touch()
    flags = ("-o", tmp_path / "out", "--weights", weights)
    needs = 'needs pillow-heif: pip install "constyle-arch[heif]"'
    assert restore_command("-i", tmp_path, *flags) == 0
    assert f"Not read, for their names: 1 .heic ({needs}).\n" in capsys.readouterr().out
    assert restore_command("-i", tmp_path / "b.HEIC", *flags) == 2
    assert f"b.HEIC: to read .heic {needs}." in capsys.readouterr().err
    with pytest.raises(DataError, match=r"b\.HEIC cannot be read: \.heic needs pillow-heif"):
        read_photograph(tmp_path / "b.HEIC")


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_photographs_of_phones_are_read_and_written_as_png(tmp_path, weights, suffix):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif suffix not in readable():
        pytest.skip("this Pillow reads no AVIF")
    source, target = tmp_path / "photos" / f"a{suffix}", tmp_path / "out" / "a.png"
    source.parent.mkdir()
    facts = Image.Exif()
    facts[0x010F] = "a camera"
    Image.fromarray(picture()).save(source, quality=95, exif=facts.tobytes(), icc_profile=PROFILE)
    given = read_photograph(source)
    assert np.abs(given.pixels.astype(int) - picture()).mean() < 12
    assert given.profile == PROFILE
    assert restore_command("-i", source.parent, "-o", target.parent, "--weights", weights) == 0
    np.testing.assert_array_equal(
        read_photograph(target).pixels, directly_restored(given.pixels, weights)
    )
    assert Image.open(target).getexif()[0x010F] == "a camera"


def test_what_is_skipped_is_scored_all_the_same(tmp_path, weights, capsys):
    for name in ("a", "b"):
        Image.fromarray(picture(30, 40 + len(name))).save(tmp_path / f"{name}.png")
    flags = (
        "-i",
        tmp_path / "a.png",
        tmp_path / "b.png",
        "-o",
        tmp_path / "out",
        "--weights",
        weights,
    )
    tables = []
    for _ in range(2):
        assert restore_command(*flags, "--gt", tmp_path) == 0
        output = capsys.readouterr().out
        tables.append(output[output.index("image") : output.index("Restored")])
    assert "Restored 0" in output
    assert tables[0] == tables[1]
    Image.fromarray(picture(8, 8)).save(tmp_path / "out" / "a.png")
    assert restore_command(*flags, "--gt", tmp_path) == 1
    assert re.search(
        r"a\.png: is 41×30 pixels and .*a\.png, not of it, 8×8\.", capsys.readouterr().out
    )


def test_limit_of_pixels_is_raised_by_a_flag(tmp_path, weights, capsys):
    Image.fromarray(picture(50, 70)).save(tmp_path / "a.png")
    flags = (
        "-i",
        tmp_path / "a.png",
        "-o",
        tmp_path / "b.png",
        "--weights",
        weights,
        "--max-megapixels",
    )
    assert restore_command(*flags, "0.003") == 1
    assert (
        "is 70×50 pixels, and images of more than 0.003 million are not read"
        in capsys.readouterr().out
    )
    assert restore_command(*flags, "0.0035") == 0


def test_numbers_that_are_not_finite_are_not_written(tmp_path, capsys):
    network = random_network()
    network.output.weight.data.fill_(float("nan"))
    torch.save({"params": network.state_dict()}, tmp_path / "nan.pth")
    Image.fromarray(picture()).save(tmp_path / "a.png")
    flags = ("-i", tmp_path / "a.png", "-o", tmp_path / "out", "--weights", tmp_path / "nan.pth")
    assert restore_command(*flags) == 1
    assert (
        "not finite; so do the weights, in output.weight: take an earlier"
        in capsys.readouterr().out
    )
    assert not (tmp_path / "out").exists()
