"""Statistics of windows instead of the whole image (TLC): what they are, and every way to ask for
them."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import constyle_arch
from constyle_arch import cli
from constyle_arch.archs import ConStyleNAFNet, NAFNet, Restormer
from constyle_arch.archs.local_statistics import (
    depends_on_tiles,
    local_window,
    use_local_statistics,
)
from constyle_arch.archs.restormer_arch import TransposedAttention
from constyle_arch.checkpoints.hub import from_pretrained, save_pretrained
from constyle_arch.checkpoints.loading import window_of
from constyle_arch.errors import CheckpointError
from constyle_arch.inference.restoring import restore
from tests.networks import SMALL_NAFNET, TINY
from tests.photographs import directly_restored, picture, restore_command, restore_files
from tests.shared import training_options, write_options, write_pairs

SHALLOW = {
    "NAFNet": partial(NAFNet, width=8, enc_blk_nums=(1,), middle_blk_num=0, dec_blk_nums=(0,)),
    "Restormer": partial(
        Restormer, dim=8, num_blocks=(1, 0, 0, 0), num_refinement_blocks=0, heads=(2, 2, 2, 2)
    ),
}
"""With one block, whose attention is the only one."""
REACH = 24
"""Pixels, more than their convolutions see around each."""


def randomised(network, std=0.2):
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std)
    return network.eval()


@pytest.mark.parametrize("fused", [True, False])
def test_attention_is_that_of_the_image_where_all_windows_have_its_statistics(fused):
    """An image that repeats itself every 8 pixels has the same sums of products in all windows of
    16."""
    attention = randomised(TransposedAttention(12, heads=3, bias=True), std=0.5)
    attention.fused = fused
    taps = torch.zeros(3, 3)
    taps[1, 1] = 1
    attention.qkv_dwconv.weight.data *= taps  # or the border would be another statistic
    x = torch.randn(2, 12, 8, 8).repeat(1, 1, 5, 4)
    whole = attention(x)
    attention.window = 16
    torch.testing.assert_close(attention(x), whole, rtol=1e-4, atol=1e-4)
    x[..., :8, :8] *= -3
    assert not torch.allclose(attention(x), attention.train()(x))  # which goes without windows


@pytest.mark.parametrize("name", SHALLOW)
def test_what_is_beyond_the_window_changes_nothing(name):
    network, window = randomised(SHALLOW[name](), std=0.5), 32
    image = torch.rand(1, 3, 64, 200)
    other = image.clone()
    other[..., : 200 - 2 * window - REACH] = 0
    with torch.no_grad():
        far = (network(image) - network(other))[..., -8:].abs().max()
        use_local_statistics(network, window)
        near = (network(image) - network(other))[..., -8:].abs().max()
    assert far > 1e-2
    assert near < 1e-3 * far


def test_tile_larger_than_the_windows_is_restored_as_in_the_whole_image():
    network, window = randomised(SHALLOW["NAFNet"](), std=0.5), 32
    image, margin = torch.rand(1, 3, 160, 160), 16 + REACH
    inside = (..., slice(margin, 128 - margin), slice(margin, 128 - margin))
    differences = []
    with torch.no_grad():
        for local in (None, window):
            use_local_statistics(network, local)
            part = network(image[..., 16:144, 16:144])
            differences.append((network(image)[..., 16:144, 16:144] - part)[inside].abs().max())
    assert differences[0] > 1e-2
    assert differences[1] < 1e-3 * differences[0]


def test_tiles_come_closer_to_the_whole_image():
    network = randomised(SHALLOW["NAFNet"](), std=0.5)
    ramp = torch.linspace(0, 1, 256)
    tint = torch.tensor([1, 0.5, 0.2])[:, None, None]
    image = (ramp[:, None] * ramp * tint + 0.1 * torch.rand(1, 3, 256, 256)).clamp(0, 1)
    differences = []
    for window in (None, 64):
        use_local_statistics(network, window)
        whole = restore(network, image)
        differences.append(
            float((restore(network, image, tile=128) - whole).square().mean().sqrt())
        )
    assert differences[1] < 0.3 * differences[0]


def test_what_tiles_cost_is_known_of_each_network():
    restormer, maxim = TINY["Restormer"](), TINY["Maxim"]()
    assert depends_on_tiles(restormer, 128)
    use_local_statistics(restormer, 64)
    assert not depends_on_tiles(restormer, 128)
    assert depends_on_tiles(restormer, 48)
    use_local_statistics(maxim, 64)
    assert depends_on_tiles(maxim, 128)  # its grid is the tile's
    assert not depends_on_tiles(constyle_arch.load_network("denoise"), 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of one network, as a .pth and as .safetensors that notes a window of 16 pixels, and a
    photograph."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(
        {"params": randomised(ConStyleNAFNet(**SMALL_NAFNET), std=0.1).state_dict()},
        folder / "net.pth",
    )
    convert = [
        "convert",
        str(folder / "net.pth"),
        str(folder / "net.safetensors"),
        "--key",
        "params",
        "--tlc",
        "16",
    ]
    assert cli.main(convert) == 0
    Image.fromarray(picture(60, 70)).save(folder / "a.png")
    return folder


def test_file_notes_its_window_and_an_argument_overrules_it(files):
    noting = files / "net.safetensors"
    assert local_window(constyle_arch.load_network(noting)) == 16
    assert local_window(constyle_arch.load_network(noting, tlc="auto")) == 16
    assert local_window(constyle_arch.load_network(noting, tlc=0)) is None
    assert local_window(constyle_arch.load_network(noting, tlc=32)) == 32
    assert local_window(constyle_arch.load_network(files / "net.pth")) is None
    with pytest.raises(
        CheckpointError, match=r"net\.pth does not tell what crops .* 192 for crops of 128"
    ):
        constyle_arch.load_network(files / "net.pth", tlc="auto")


def test_auto_is_one_and_a_half_of_an_experiments_crops(files, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net_g_4.pth").write_bytes((files / "net.pth").read_bytes())
    write_options(tmp_path / "tiny.yml", training_options(tmp_path))
    assert window_of(tmp_path / "models" / "net_g_4.pth", "auto") == 24


def test_command_restores_with_the_window_asked_for_or_noted(files, tmp_path, capsys):
    results = {}
    for name, weights, flags in (
        ("whole", "net.pth", ()),
        ("asked", "net.pth", ("--tlc", "16")),
        ("noted", "net.safetensors", ()),
        ("off", "net.safetensors", ("--tlc", "off")),
    ):
        target = tmp_path / f"{name}.png"
        assert restore_files(files / "a.png", target, files / weights, *flags) == 0
        assert ("statistics are those of windows of 16 pixels" in capsys.readouterr().out) == (
            name in "asked noted"
        )
        results[name] = np.asarray(Image.open(target))
    np.testing.assert_array_equal(
        results["noted"], directly_restored(picture(60, 70), files / "net.safetensors")
    )
    np.testing.assert_array_equal(results["asked"], results["noted"])
    np.testing.assert_array_equal(results["off"], results["whole"])
    assert not np.array_equal(results["noted"], results["whole"])


def test_network_without_such_statistics_says_so(files, tmp_path, capsys):
    flags = ("--weights", "denoise", "--tlc", "64")
    assert restore_command("-i", files / "a.png", "-o", tmp_path / "b.png", *flags) == 0
    assert (
        "--tlc 64: ConStyleConv takes no statistics over images; nothing changes."
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("value", ["0", "-5", "12.5", "whole"])
def test_other_windows_are_refused(files, tmp_path, capsys, value):
    flags = ("--weights", files / "net.pth", f"--tlc={value}")
    assert restore_command("-i", files / "a.png", "-o", tmp_path / "b.png", *flags) == 2
    assert (
        f"--tlc is '{value}'; it must be a number of pixels, auto or off."
        in capsys.readouterr().err
    )


def test_window_is_told_kept_and_not_lost(files, tmp_path, capsys):
    noting = str(files / "net.safetensors")
    assert cli.main(["info", noting]) == 0
    assert "statistics are those of windows of 16 pixels" in capsys.readouterr().out
    assert cli.main(["convert", noting, str(tmp_path / "copy.safetensors")]) == 0
    assert window_of(tmp_path / "copy.safetensors") == 16
    assert cli.main(["convert", noting, str(tmp_path / "copy.pth")]) == 2
    assert (
        "cannot note the window of 16 pixels; write a .safetensors, or add --tlc off"
        in capsys.readouterr().err
    )
    assert cli.main(["convert", noting, str(tmp_path / "copy.pth"), "--tlc", "off"]) == 0
    save_pretrained(noting, tmp_path / "hub")
    assert local_window(from_pretrained(tmp_path / "hub")) == 16
    assert "windows of 16 pixels" in (tmp_path / "hub" / "README.md").read_text()


def test_scores_are_those_of_the_window(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = write_pairs(tmp_path / "pairs", 1, height=48, width=56)
    scores = {}
    for name, weights, flags in (
        ("whole", "net.pth", []),
        ("asked", "net.pth", ["--tlc", "16"]),
        ("noted", "net.safetensors", []),
        ("off", "net.safetensors", ["--tlc", "off"]),
    ):
        data = ["--gt", str(pairs / "gt"), "--lq", str(pairs / "lq"), "--name", name]
        assert cli.main(["test", "--weights", str(files / weights), *data, *flags]) == 0
        results = json.loads((tmp_path / "results" / name / "results.json").read_text())
        scores[name] = results["benchmarks"]["test"]["scores"]["psnr"]["value"]
    assert scores["asked"] == scores["noted"] != scores["whole"] == scores["off"]


def test_training_validates_with_the_window_and_trains_without(make_model):
    model = make_model()
    image = torch.rand(1, 3, 48, 56)
    whole = model.net_g.eval()(image)
    model.val = model.val.model_copy(update={"tlc": "auto"})
    model.use_windows()
    assert local_window(model.net_g) == local_window(model.net_g_ema) == 24
    assert not torch.allclose(model.net_g(image), whole)
    attention = next(
        module for module in model.net_g.modules() if isinstance(module, TransposedAttention)
    )
    assert not attention.train().is_local(torch.rand(1, 8, 48, 56))
