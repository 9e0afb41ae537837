"""What restoring makes of a photograph, with which weights, and how that is scored."""

import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import constyle_arch
from constyle_arch.checkpoints.trained import located
from constyle_arch.errors import CheckpointError, DataError
from constyle_arch.images import to_float
from constyle_arch.inference.photographs.finding import find_jobs, find_truths
from constyle_arch.inference.photographs.photograph import Photograph, read_photograph
from constyle_arch.inference.photographs.restorer import Restorer
from tests.networks import random_network
from tests.photographs import directly_restored, picture, restore_command, restore_files


@pytest.mark.parametrize("size", [(3, 600), (600, 3), (1, 1), (20, 300)])
def test_thin_images_are_compared_too(tmp_path, weights, size):
    Image.fromarray(picture(*size)).save(tmp_path / "a.png")
    flags = ("--weights", weights, "--compare", "--gt", tmp_path / "a.png")
    assert restore_command("-i", tmp_path / "a.png", "-o", tmp_path / "out", *flags) == 0
    assert read_photograph(tmp_path / "out" / "a.png").pixels.shape == (*size, 3)
    assert cv2.imread(str(tmp_path / "out" / "a_comparison.jpg")) is not None


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
    assert restore_files(tmp_path / "a.png", tmp_path / "b.png", models.parent) == 0
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
    assert re.search(r"Not scored 1 without a clean image of their name.*alone\.png", output)
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
    assert restore_files(tmp_path / "a.png", tmp_path / "b.png", weights, flag) == 0
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
        assert restore_files(tmp_path / "a.png", target, weights, "--strength", strength) == 0
        results[strength] = cv2.imread(str(target)).astype(float)
    np.testing.assert_array_equal(results["0"], cv2.imread(str(tmp_path / "a.png")))
    unclipped = (results["1"] > 0) & (results["1"] < 255)
    blended = 0.75 * results["0"] + 0.25 * results["1"]
    assert np.abs(results["0.25"] - blended)[unclipped].max() <= 0.75  # both were rounded
    assert np.abs(results["1"] - results["0"]).mean() > 5


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
