"""`basicsr restore` of folders: what is restored, skipped, refused, and never overwritten."""

import itertools
import os
import re
import shutil
import signal
import threading
import time

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from constyle_arch.inference.photographs import pipeline
from constyle_arch.inference.photographs.finding import find_jobs
from constyle_arch.inference.photographs.photograph import read_photograph
from constyle_arch.inference.photographs.pipeline import Pipeline
from constyle_arch.inference.photographs.restorer import Restorer
from tests.networks import random_network
from tests.photographs import (
    PROFILE,
    broken_files,
    directly_restored,
    exif,
    picture,
    restore_command,
    restore_files,
)
from tests.processes import Command, run_command


def write_all_kinds(folder):
    """Twenty images of all kinds in a tree, three of them broken; names of the broken ones."""
    (folder / "holiday" / "day one").mkdir(parents=True)
    (folder / ".thumbnails").mkdir()
    rgb, rgba = picture(), picture(channels=4)
    deep, deep4 = picture(bits=16), picture(channels=4, bits=16)
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
    file = folder / "holiday" / "day one" / "deep.alpha.tif"
    tifffile.imwrite(file, deep4, photometric="rgb", extrasamples=[2])
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

    assert restore_files(source, target, weights) == 1

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
    steps = itertools.product(("read", "written"), "012")
    reached = {step: threading.Event() for step in steps}
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
            beside = {("read", str(self.number + 1)), ("written", str(self.number - 1))}
            assert all(reached[one].wait(20) for one in beside & reached.keys())
            self.number += 1
            return photograph

    monkeypatch.setattr(pipeline, "read_photograph", reading)
    monkeypatch.setattr(pipeline, "write_photograph", writing)
    jobs = find_jobs([str(tmp_path)], str(tmp_path / "out"))
    summary = Pipeline(Waiting(random_network())).run(jobs)
    assert (summary.restored, summary.failed) == (3, {})


def test_no_input_is_ever_overwritten(tmp_path, weights, capsys):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    (tmp_path / "link").symlink_to(tmp_path)
    before = path.read_bytes()
    for output in (tmp_path, path, tmp_path / "link"):
        assert restore_files(path, output, weights, "--overwrite") == 2
        assert "would be overwritten; name another folder" in capsys.readouterr().err
    assert restore_files(path, tmp_path, weights, "--suffix", "_clean") == 0
    assert path.read_bytes() == before
    assert files_in(tmp_path) >= {"a.png", "a_clean.png"}


def test_output_below_the_input_is_not_restored_again(tmp_path, weights):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    for _ in range(2):
        assert restore_files(tmp_path, tmp_path / "out", weights, "--compare") == 0
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
    out, clean, flags = tmp_path / "out", tmp_path / "gt", ("--overwrite", "--compare")
    assert restore_files(tmp_path / "in", out, weights, *flags) == 2
    assert "x_comparison.jpg would both become" in capsys.readouterr().err
    source = tmp_path / "in" / "x.jpg"
    assert restore_files(source, clean, weights, "--overwrite", "--gt", clean) == 2
    assert "gt/x.jpg would be overwritten" in capsys.readouterr().err
    assert restore_files(tmp_path / "twins", out, weights, *flags) == 0
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    pictures = {"a_jpg_comparison.jpg", "a_png_comparison.jpg"}
    assert files_in(out) == {"a.jpg", "a.png"} | pictures


def test_odd_things_in_a_folder_do_not_stop_it(tmp_path, weights, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (out / "taken.png").mkdir(parents=True)
    for name in ("good.png", "taken.png", "l" * 246 + ".png"):
        Image.fromarray(picture()).save(folder / name)
    (folder / "itself.png").symlink_to("itself.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    assert restore_files(folder, out, weights, "--suffix", "") == 1
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
        (["--tile", "0"], "--tile is 0; it must be at least 1"),
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
        (["--max-megapixels", "0"], "--max-megapixels is 0; it must be above 0"),
        (["--tile-overlap", "-1"], "--tile-overlap is -1; it must be at least 0"),
        (["--gt", ""], "--gt is empty"),
    ],
)
def test_wrong_flags_are_one_clear_error(tmp_path, weights, capsys, flags, message):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert restore_files(tmp_path / "a.png", tmp_path / "out", weights, *flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()
