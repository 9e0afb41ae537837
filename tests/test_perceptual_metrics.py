"""LPIPS and DISTS are the papers' distances of 8-bit BGR images, and need no network but once."""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from constyle_arch import cli
from constyle_arch.archs import ConStyleConv
from constyle_arch.metrics import calculate_dists, calculate_lpips
from constyle_arch.metrics import perceptual as module
from tests.shared import paired_dataset, training_options, write_options

torchmetrics = pytest.importorskip("torchmetrics")
models = pytest.importorskip("torchvision.models")

LEARNED = Path(torchmetrics.__file__).parent / "functional" / "image"
RELUS = {"alexnet": (1, 4, 7, 9, 11), "vgg16": (3, 8, 15, 22, 29)}
"""The layers of torchvision's networks whose features are compared."""
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def backbone(name):
    """torchvision's network, without numbers."""
    with torch.device("meta"):
        return models.get_model(name)


def random_weights(name):
    """Of torchvision's network, but for its classifier, which is zero."""
    shapes = {key: value.shape for key, value in backbone(name).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    return {
        key: 0.05 * torch.randn(shape, generator=generator)
        if key.startswith("features.")
        else torch.zeros(shape)
        for key, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def weights():
    return {name: random_weights(name) for name in RELUS}


@pytest.fixture(scope="module", autouse=True)
def networks_forgotten():
    """Networks with random weights are not for other tests."""
    yield
    module._lpips.cache_clear()
    module._dists.cache_clear()


@pytest.fixture
def downloads(monkeypatch, tmp_path, weights):
    """The network answers with random weights."""

    def load(url, *_, **__):
        return weights["alexnet" if "alexnet" in url else "vgg16"]

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


def features(name, weights, image, pool=F.max_pool2d):
    """Of an RGB image (1, 3, H, W), normalised as for ImageNet, in the layers that are compared."""
    found = []
    for number, layer in enumerate(backbone(name).features[: RELUS[name][-1] + 1]):
        if isinstance(layer, torch.nn.Conv2d):
            kernel, bias = (weights[f"features.{number}.{key}"] for key in ("weight", "bias"))
            image = F.conv2d(image, kernel, bias, layer.stride, layer.padding)
        elif isinstance(layer, torch.nn.ReLU):
            image = image.clamp(min=0)
            if number in RELUS[name]:
                found.append(image)
        else:
            image = pool(image, layer.kernel_size, layer.stride)
    return found


def l2_pool(image, *_):
    weights = torch.tensor([1.0, 2.0, 1.0])
    kernel = (torch.outer(weights, weights) / 16).expand(image.shape[1], 1, 3, 3)
    return F.conv2d(image**2, kernel, stride=2, padding=1, groups=image.shape[1]).sqrt()


def lpips(first, second, net, weights):
    name = {"alex": "alexnet", "vgg": "vgg16"}[net]
    learned = torch.load(LEARNED / "lpips_models" / f"{net}.pth", map_location="cpu")
    total = 0
    both = (features(name, weights[name], (image - MEAN) / STD) for image in (first, second))
    for layer, pair in enumerate(zip(*both, strict=True)):
        one, other = (F.normalize(feature, dim=1) for feature in pair)
        weight = learned[f"lin{layer}.model.1.weight"][0]
        total += ((one - other) ** 2 * weight).sum(1).mean()
    return float(total)


def dists(first, second, weights):
    learned = torch.load(LEARNED / "dists_models" / "weights.pt", map_location="cpu")
    both = [
        [image, *features("vgg16", weights["vgg16"], (image - MEAN) / STD, l2_pool)]
        for image in (first, second)
    ]
    structure, texture = [], []
    for pair in zip(*both, strict=True):
        x, y = (feature[0].flatten(1).double() for feature in pair)
        means = x.mean(1), y.mean(1)
        variances = x.var(1, correction=0) + y.var(1, correction=0)
        covariance = ((x - means[0][:, None]) * (y - means[1][:, None])).mean(1)
        structure.append((2 * means[0] * means[1] + 1e-6) / (means[0] ** 2 + means[1] ** 2 + 1e-6))
        texture.append((2 * covariance + 1e-6) / (variances + 1e-6))
    alpha, beta = (learned[key].flatten().double() for key in ("alpha", "beta"))
    similarity = (alpha * torch.cat(structure)).sum() + (beta * torch.cat(texture)).sum()
    return float(1 - similarity / (alpha.sum() + beta.sum()))


def photographs(shape):
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, shape, np.uint8)
    return np.uint8(np.clip(clean + rng.normal(0, 40, shape), 0, 255)), clean


def rgb(image):
    """8 bits (H, W, 3), BGR, or (H, W), as (1, 3, H, W) in [0, 1]."""
    channels = [image[..., n] for n in (2, 1, 0)] if image.ndim == 3 else [image] * 3
    return torch.from_numpy(np.stack(channels)[None] / np.float32(255))


@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64)], ids=["colour", "gray"])
@torch.no_grad()
def test_scores_are_the_papers_distances(downloads, weights, shape):
    images = photographs(shape)
    inner = [rgb(image[4:-4, 4:-4]) for image in images]
    for net in ("alex", "vgg"):
        score = calculate_lpips(*images, 4, net=net, better="lower")
        assert score == pytest.approx(lpips(*inner, net, weights), rel=1e-3)
    score = calculate_dists(*images, 4, better="lower")
    assert score == pytest.approx(dists(*inner, weights), rel=1e-3)
    assert calculate_lpips(images[1], images[1], better="lower") == 0
    assert calculate_dists(images[1], images[1], better="lower") == pytest.approx(0, abs=1e-5)
    assert module._lpips.cache_info().misses == 2  # each network is built once


def test_images_too_small_for_the_backbone_have_no_score(downloads):
    image, clean = photographs((31, 64, 3))
    assert np.isnan(calculate_lpips(image, clean, better="lower"))
    assert np.isnan(calculate_dists(image, clean, better="lower"))


def run_file(folder, pairs, **metric):
    options = training_options(pairs, pairs, total_iter=1)
    options["val"]["metrics"] = {"lpips": {"type": "calculate_lpips", **metric}}
    return str(write_options(folder / "run.yml", options))


def test_check_needs_no_network_and_a_run_says_what_it_misses(
    tmp_path, ten_pairs, offline, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    file = run_file(tmp_path, ten_pairs, better="lower")
    assert cli.main(["check", "-opt", file]) == 0
    assert "val.metrics.lpips: the run begins with the download of https" in capsys.readouterr().out
    assert cli.main(["train", "-opt", file]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "val.metrics.lpips needs https" in last and "no route to host" in last
    assert f"copy it to {tmp_path}/hub/hub/checkpoints/alexnet-owt-7be5be79.pth." in last
    assert not (tmp_path / "experiments" / "tiny").exists()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({}, "better is higher, and a lower distance is better; set better: lower"),
        ({"better": "lower", "net": "resnet"}, "net is resnet; it must be one of alex, vgg"),
        ({"better": "lower", "crop_bordr": 4}, "unexpected keyword argument 'crop_bordr'"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path, ten_pairs, offline, monkeypatch, capsys, metric, message
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "-opt", run_file(tmp_path, ten_pairs, **metric)]) == 2
    assert f"val.metrics.lpips: {message}" in capsys.readouterr().err.replace("got an ", "")


def test_without_the_extra_check_says_what_to_install(tmp_path, ten_pairs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    assert cli.main(["check", "-opt", run_file(tmp_path, ten_pairs, better="lower")]) == 2
    wanted = (
        "val.metrics.lpips: torchmetrics is not installed: "
        'pip install --no-build-isolation "constyle-arch[train,metrics]"'
    )
    assert wanted in capsys.readouterr().err


def test_a_test_reports_both(tmp_path, two_pairs, downloads, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": ConStyleConv(dim=8).state_dict()}, "net.pth")
    options = {
        "name": "scored",
        "model_type": "RestorationModel",
        "num_gpu": 0,
        "datasets": {"test": paired_dataset(two_pairs)},
        "network_g": {"type": "ConStyleConv", "dim": 8},
        "path": {"pretrain_network_g": "net.pth"},
        "val": {
            "save_img": False,
            "metrics": {
                name: {"type": f"calculate_{name}", "better": "lower"}
                for name in ("lpips", "dists")
            },
        },
    }
    assert cli.main(["test", "-opt", str(write_options(tmp_path / "test.yml", options))]) == 0
    with Path("results/scored/results.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    for name in ("000", "001"):
        images = [cv2.imread(str(two_pairs / side / f"{name}.png")) for side in ("lq", "gt")]
        for metric, score in (("lpips", calculate_lpips), ("dists", calculate_dists)):
            expected = score(*images, better="lower")
            assert float(rows[name][f"input_{metric}"]) == pytest.approx(expected, abs=1e-4)
            assert float(rows[name][metric]) > 0
