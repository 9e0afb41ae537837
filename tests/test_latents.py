"""`basicsr latents`: ConStyle's codes of images, how well they separate, and the picture of
them."""

import math
import sys

import cv2
import numpy as np
import pytest
import torch

from constyle_arch import cli
from constyle_arch.archs.nafnet_arch import NAFNet
from constyle_arch.errors import CheckpointError, DataError
from constyle_arch.reporting.latents.collecting import (
    CELL,
    clean_images,
    degraded_images,
    encode,
    guided_network,
    untrained_encoder,
)
from constyle_arch.reporting.latents.drawing import draw
from constyle_arch.reporting.latents.embedding import embed
from constyle_arch.reporting.latents.scores import (
    distances_of,
    neighbors_of_own_group,
    separation,
    silhouette,
    table,
)
from tests.networks import built
from tests.shared import small_network


def write_image(path, brightness, height=40, width=48, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    assert cv2.imwrite(str(path), np.uint8(brightness + noise))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Clean images of medium brightness, dark ones and bright ones, six of each."""
    folder = tmp_path_factory.mktemp("photographs")
    for kind, brightness in (("gt", 120), ("lq/dark", 40), ("lq/bright", 210)):
        for number in range(6):
            write_image(folder / kind / f"{number}.png", brightness, seed=number)
    return folder


def network_seeing_brightness():
    """A network whose encoder passes an image's mean brightness on, as the first entry of its
    codes."""
    network = built(small_network()).eval()
    with torch.no_grad():
        for parameter in network.encoder.parameters():
            parameter.zero_()
        for stage in network.encoder.stages:
            for convolution in (layer for layer in stage if isinstance(layer, torch.nn.Conv2d)):
                convolution.weight[0, : 3 if convolution.in_channels == 3 else 1, 1, 1] = 1
        for linear, normalization, _ in network.encoder.projections:
            linear.weight[0, 0] = normalization.weight[0] = 1
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save({"params": network_seeing_brightness().state_dict()}, path)
    return path


def command(photographs, weights, output, *more, lq=None):
    degraded = lq or [photographs / "lq"]
    where = ["--lq", *map(str, degraded), "--gt", str(photographs / "gt"), "-o", str(output)]
    return cli.main(["latents", "--weights", str(weights), *where, *more])


def test_encoder_that_sees_brightness_separates_bright_from_dark(
    photographs, weights, tmp_path, capsys
):
    assert command(photographs, weights, tmp_path / "codes.svg") == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if "silhouette" in line]
    rows = {line[:60].strip(): line.split()[-2:] for line in lines}
    assert float(rows["silhouette of degradation types"][1]) > 0.9
    assert "100%" in printed and "(by chance 45%)" in printed
    text = (tmp_path / "codes.svg").read_text()
    shown = ("before training", "after training", "dark", "bright", "clean")
    for one in (*shown, "component 1, 100% of the variance"):
        assert f">{one}<" in text
    for clean, types in zip(*rows.values(), strict=True):
        assert f"degraded and clean {clean}, types {types}" in text
    assert command(photographs, weights, tmp_path / "codes.png") == 0
    assert cv2.imread(str(tmp_path / "codes.png")).std() > 10


def latents_of(photographs, network):
    encoders = {"before": untrained_encoder(), "after": network.encoder}
    images = clean_images([photographs / "gt"]), degraded_images([photographs / "lq"])
    return encode(encoders, network.multiple, *images)


def test_codes_are_those_the_network_computes(photographs):
    network = built(small_network()).eval()
    latents = latents_of(photographs, network)
    assert latents.groups == ["clean", "bright", "dark"]
    assert latents.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    image = cv2.imread(str(photographs / "lq" / "dark" / "4.png"))[..., ::-1] / 255.0
    batch = torch.tensor(image.transpose(2, 0, 1), dtype=torch.float32)[None]
    with torch.no_grad():
        _, codes = network(batch, return_codes=True)
    torch.testing.assert_close(latents.codes["after"][16], codes.c2[0], rtol=1e-4, atol=1e-7)


def test_picture_shows_every_image_once(photographs):
    latents = latents_of(photographs, network_seeing_brightness())
    measured = {name: separation(codes, latents.labels) for name, codes in latents.codes.items()}
    figure = draw(latents, measured, "pca")
    for axes in figure.axes:
        assert [len(points.get_offsets()) for points in axes.collections] == [6, 6, 6]
        assert len({tuple(points.get_edgecolor()[0]) for points in axes.collections}) == 3
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["clean", "bright", "dark"]


def test_encoder_before_training_is_the_same_each_time_and_leaves_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = untrained_encoder()
    assert torch.equal(torch.rand(3), expected)
    other = untrained_encoder()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not one.training


def test_large_images_are_read_in_pieces(tmp_path):
    write_image(tmp_path / "gt" / "0.png", 120, height=CELL + 41, width=2 * CELL + 3)
    write_image(tmp_path / "lq" / "0.png", 60, height=17, width=1)
    sizes = []
    encoder = untrained_encoder()
    encoder.stages[0].register_forward_pre_hook(lambda _, images: sizes.append(images[0].shape[2:]))
    images = clean_images([tmp_path / "gt"]), degraded_images([tmp_path / "lq"])
    latents = encode({"one": encoder}, 8, *images)
    assert len(sizes) == 6 + 1
    assert max(max(size) for size in sizes) <= CELL + 2 * 32
    assert latents.codes["one"].shape == (2, 128)


def test_types_are_named_by_their_folders(photographs, tmp_path):
    for path in ("haze/lq/1.png", "haze/lq/deep/2.png", "rain/lq/1.png"):
        write_image(tmp_path / path, 100)

    def sizes(*roots):
        return {name: len(images) for name, images in degraded_images([*map(str, roots)]).items()}

    haze, rain = tmp_path / "haze" / "lq", tmp_path / "rain" / "lq"
    assert sizes(haze) == {"lq": 2}
    assert sizes(haze, rain) == {"haze/lq": 2, "rain/lq": 1}
    for root in (tmp_path, tmp_path / "*" / "lq"):
        assert sizes(root) == {"haze": 2, "rain": 1}


def plain_silhouette(codes, labels):
    """By its definition, an image at a time."""
    coefficients = []
    for index, (code, label) in enumerate(zip(codes, labels, strict=True)):
        means = {}
        for group in set(labels):
            others = [i for i in range(len(codes)) if labels[i] == group and i != index]
            distances = [np.linalg.norm(code - codes[i]) for i in others]
            means[group] = np.mean(distances) if others else None
        own, nearest = means.pop(label), min(means.values())
        coefficients.append(0.0 if own is None else (nearest - own) / max(nearest, own))
    return float(np.mean(coefficients))


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_silhouette_follows_its_definition(groups):
    rng = np.random.default_rng(groups)
    labels = [3, *rng.integers(0, groups, 30).tolist(), *range(groups)]
    # the first is alone in its group
    labels = [label if index else groups for index, label in enumerate(labels)]
    codes = rng.normal(size=(len(labels), 128)) + 0.2 * np.array(labels)[:, None]
    measured = silhouette(distances_of(torch.tensor(codes)), torch.tensor(labels))
    assert measured == pytest.approx(plain_silhouette(codes, labels), abs=1e-12)


def test_silhouette_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels = torch.arange(50) % 4
    codes = torch.randn(50, 128, generator=torch.Generator().manual_seed(1)) + labels[:, None]
    measured = silhouette(distances_of(codes), labels)
    theirs = float(metrics.silhouette_score(codes.double().numpy(), labels.numpy()))
    assert measured == pytest.approx(theirs, abs=1e-9)


def test_groups_far_apart_score_one_and_mixed_ones_zero():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    codes = torch.randn(300, 128, generator=generator)
    apart = codes + 1000 * torch.nn.functional.one_hot(labels, 128)
    assert silhouette(distances_of(apart), labels) > 0.98
    assert neighbors_of_own_group(distances_of(apart), labels) == 1
    mixed = labels[torch.randperm(300, generator=generator)]
    assert abs(silhouette(distances_of(apart), mixed)) < 0.05
    assert neighbors_of_own_group(distances_of(apart), mixed) == pytest.approx(1 / 3, abs=0.1)


def test_scores_of_few_or_equal_codes():
    assert math.isnan(silhouette(distances_of(torch.rand(4, 128)), torch.ones(4, dtype=torch.long)))
    assert silhouette(distances_of(torch.ones(4, 128)), torch.tensor([0, 0, 1, 1])) == 0
    measured = separation(torch.rand(2, 128), torch.tensor([0, 1]))
    assert measured.clean == 0
    assert all(map(math.isnan, (measured.types, measured.neighbors, measured.chance)))
    assert "–" in table({"before": measured})
    measured = separation(torch.rand(5, 128), torch.tensor([0, 1, 1, 1, 2]))
    assert measured.chance == pytest.approx(6 / 12)


def test_principal_components_are_those_of_numpy():
    codes = np.random.default_rng(0).normal(size=(20, 128))
    points = embed(torch.tensor(codes), "pca").points.numpy()
    centered = codes - codes.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    expected = centered @ directions[:2].T
    assert np.allclose(np.abs(points), np.abs(expected))
    # the sign is that of a rule
    assert np.allclose(embed(torch.tensor(-codes), "pca").points.numpy(), -points)
    points = embed(torch.ones(3, 128), "pca").points
    assert torch.equal(points, torch.zeros(3, 2, dtype=torch.float64))


def test_two_networks_are_drawn_beside_each_other(photographs, weights, tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.pth").write_bytes(weights.read_bytes())
    both = [str(tmp_path / name / "net.pth") for name in ("one", "two")]
    where = [f"--{side}={photographs / side}" for side in ("lq", "gt")]
    where.append(f"--output={tmp_path / 'codes.svg'}")
    assert cli.main(["latents", "--weights", *both, *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    types = next(line for line in lines if "degradation types" in line).split()
    assert types[-1] == types[-2] != types[-3]
    text = (tmp_path / "codes.svg").read_text()
    assert ">before training<" in text
    assert text.count("net<") + text.count("net.pth<") == 2


def test_images_that_cannot_be_decoded_are_named_and_left_out(
    photographs, weights, tmp_path, capsys
):
    for number in range(3):
        write_image(tmp_path / "rain" / f"{number}.png", 70, seed=number)
    (tmp_path / "rain" / "1.png").write_bytes(b"broken")
    lq = [photographs / "lq" / "dark", tmp_path / "rain"]
    assert command(photographs, weights, tmp_path / "codes.png", lq=lq) == 1
    captured = capsys.readouterr()
    assert f"Left out: {tmp_path / 'rain' / '1.png'} cannot be decoded" in captured.err
    assert "Wrote" in captured.out
    assert cv2.imread(str(tmp_path / "codes.png")) is not None


def test_what_cannot_be_done_is_told_and_leaves_the_picture(
    photographs, weights, tmp_path, capsys, monkeypatch
):
    output = tmp_path / "codes.png"
    output.write_bytes(b"before, by constyle-arch")
    plain, spoilt, broken = tmp_path / "nafnet.pth", tmp_path / "spoilt.pth", tmp_path / "broken"
    network = NAFNet(width=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1])
    torch.save({"params": network.state_dict()}, plain)
    tensors = network_seeing_brightness().state_dict()
    tensors["encoder.projections.0.0.bias"][0] = math.nan
    torch.save({"params": tensors}, spoilt)
    broken.mkdir()
    (broken / "0.png").write_bytes(b"")
    partly = tmp_path / "partly"  # whose broken image must not be blamed for the other folder
    write_image(partly / "0.png", 70)
    (partly / "1.png").write_bytes(b"")
    failures = [
        (command(photographs, plain, output), "holds a NAFNet, which has no ConStyle encoder"),
        (command(photographs, spoilt, output), "after training are not finite"),
        (command(photographs, weights, output, lq=[tmp_path / "nowhere"]), "--lq: the folder"),
        (
            command(photographs, weights, output, lq=[broken, partly]),
            f"broken: none of 1 images can be decoded. {broken / '0.png'}",
        ),
        (command(photographs, weights, tmp_path / "codes.gif"), ".png or .svg"),
    ]
    errors = capsys.readouterr().err
    assert [code for code, _ in failures] == [2] * len(failures)
    assert [told for _, told in failures if told not in errors] == []
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    assert command(photographs, weights, output, "--method", "tsne") == 2
    assert "pip install scikit-learn" in capsys.readouterr().err
    assert output.read_bytes() == b"before, by constyle-arch"
    assert list(tmp_path.glob("*.unfinished")) == []


def test_tsne_keeps_groups_apart(photographs, weights, tmp_path):
    pytest.importorskip("sklearn.manifold")
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    # as of a collapsed encoder
    codes = 1e-9 * (torch.randn(40, 128, generator=generator) + 100 * labels[:, None])
    points = embed(codes, "tsne").points
    assert neighbors_of_own_group(distances_of(points), labels) == 1
    assert torch.equal(points, embed(codes, "tsne").points)
    assert embed(torch.ones(3, 128), "tsne").points.isfinite().all()
    assert command(photographs, weights, tmp_path / "codes.png", "--method", "tsne") == 0


def test_errors_are_of_the_kind_their_cause_is(tmp_path):
    with pytest.raises(DataError, match="--gt: the folder"):
        clean_images([tmp_path / "nowhere"])
    with pytest.raises(CheckpointError, match="nowhere"):
        guided_network(tmp_path / "nowhere.pth")
