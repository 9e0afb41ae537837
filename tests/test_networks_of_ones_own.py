"""Networks that the weights do not tell: BasicSR's own, and those of a plugin."""

import re

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

import constyle_arch
from constyle_arch import cli
from constyle_arch.errors import CheckpointError, OptionsError
from tests.networks import built
from tests.photographs import picture
from tests.processes import run_command
from tests.shared import training_options, write_options

SRRESNET = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 1}

PLUGIN = """\
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn


@ARCH_REGISTRY.register()
class OneConvolution(nn.Module):
    def __init__(self, kernel_size=3):
        super().__init__()
        self.only = nn.Conv2d(3, 3, kernel_size, padding=kernel_size // 2)

    def forward(self, image):
        return image + self.only(image)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory, ten_pairs):
    """Experiments with BasicSR's MSRResNet at scale 1, and with a network of a plugin; a
    photograph."""
    home = tmp_path_factory.mktemp("own")
    (home / "one_convolution.py").write_text(PLUGIN)
    cv2.imwrite(str(home / "photo.png"), picture(37, 50))
    for name, network in (
        ("srresnet", SRRESNET),
        ("plugin", {"type": "OneConvolution", "kernel_size": 5}),
    ):
        options = training_options(ten_pairs, ten_pairs)
        options |= {"name": name, "model_type": "RestorationModel", "network_g": network}
        for key in ("contrast", "contrastive_opt", "content_opt", "style_opt"):
            del options["train"][key]
        file = write_options(home / f"{name}.yml", options)
        plugin = ["--plugin", "one_convolution.py"] if name == "plugin" else []
        result = run_command("train", "-opt", file, *plugin, cwd=home)
        assert result.returncode == 0, result.stderr[-2000:]
    return home


def restored(home, *arguments):
    target = home / "restored.png"
    command = [
        "restore",
        "-i",
        home / "photo.png",
        "-o",
        target,
        "--overwrite",
        "--device",
        "cpu",
        *arguments,
    ]
    assert cli.main([*map(str, command)]) == 0
    return cv2.imread(str(target))


def test_network_whose_constructor_needs_numbers_is_described(tmp_path, ten_pairs, capsys):
    """SwinIR's takes `item()` of a tensor, which has no number where only shapes are built."""
    swin = {"type": "SwinIR", "upscale": 1, "img_size": 16, "window_size": 8, "embed_dim": 12}
    options = training_options(ten_pairs, ten_pairs)
    options |= {"model_type": "RestorationModel"}
    options["network_g"] = {**swin, "depths": [2], "num_heads": [2]}
    for key in ("contrast", "contrastive_opt", "content_opt", "style_opt"):
        del options["train"][key]
    file = write_options(tmp_path / "swin.yml", options)
    for command in (["check", "-opt", file], ["info", file]):
        assert cli.main([*map(str, command)]) == 0
        assert "SwinIR" in capsys.readouterr().out


def expected(home, name, network):
    """By the network's own call."""
    restorer = built(network).eval()
    weights = torch.load(
        home / "experiments" / name / "models" / "net_g_best.pth", weights_only=True
    )
    restorer.load_state_dict(weights["params_ema"])
    photograph = cv2.imread(str(home / "photo.png"))[..., ::-1] / np.float32(255)
    with torch.no_grad():
        result = restorer(torch.from_numpy(photograph.transpose(2, 0, 1).copy())[None])[0].numpy()
    return np.round(result.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)[..., ::-1]


def test_network_of_basicsr_is_restored_with_by_its_experiment_or_by_its_name(home, capsys):
    wanted = expected(home, "srresnet", SRRESNET)
    experiment = home / "experiments" / "srresnet"
    np.testing.assert_array_equal(restored(home, "--weights", experiment), wanted)
    assert f"of {experiment}/models/net_g_best.pth [params_ema]" in capsys.readouterr().out
    bare = home / "downloads" / "bare.pth"  # the option files in `home` are not of it
    bare.parent.mkdir()
    bare.write_bytes((experiment / "models" / "net_g_best.pth").read_bytes())
    options = [f"{name}={value}" for name, value in SRRESNET.items() if name != "type"]
    by_name = restored(home, "--weights", bare, "--type", "MSRResNet", "--network-option", *options)
    np.testing.assert_array_equal(by_name, wanted)
    tiles = restored(home, "--weights", experiment, "--tile", "32", "--tile-overlap", "20")
    assert np.abs(tiles.astype(int) - wanted).max() <= 1  # 15 pixels of its surroundings count
    with pytest.raises(CheckpointError, match=r"Name the architecture with `type` \(--type\)"):
        constyle_arch.load_network(bare)
    assert type(constyle_arch.load_network(experiment)).__name__ == "MSRResNet"


def test_network_of_a_plugin_is_known_to_every_command(home):
    weights = home / "experiments" / "plugin"
    plugin = ["--plugin", str(home / "one_convolution.py")]
    own = run_command("restore", "-i", "photo.png", "-o", "no.png", "--weights", weights, cwd=home)
    assert own.returncode == 2
    assert (
        "Its experiment's is OneConvolution; name the file that has it by --plugin." in own.stderr
    )
    result = restored(home, "--weights", weights, *plugin)
    np.testing.assert_array_equal(
        result, expected(home, "plugin", {"type": "OneConvolution", "kernel_size": 5})
    )
    told = run_command("info", weights, *plugin, cwd=home).stdout
    assert re.search(r"^network +OneConvolution$", told, re.M)
    assert re.search(r"^options +kernel_size 5$", told, re.M)


def test_network_options_that_cannot_be_used_are_refused(home):
    for entry, message in (("num_block", "must be KEY=VALUE"), ("num_block=[", "cannot be read")):
        with pytest.raises(OptionsError, match=message):
            cli_restore_with(home, "--network-option", entry)
    with pytest.raises(
        CheckpointError, match=r"There is no architecture 'Nothing'; there are .*MSRResNet"
    ):
        cli_restore_with(home, "--type", "Nothing")


def cli_restore_with(home, *flags):
    command = [
        "restore",
        "-i",
        home / "photo.png",
        "-o",
        home / "no.png",
        "--weights",
        "denoise",
        *flags,
    ]
    parsed = cli.build_parser().parse_args([*map(str, command)])
    parsed.run(parsed)


def test_network_that_changes_the_size_is_refused():
    network = ARCH_REGISTRY.get("MSRResNet")(num_feat=4, num_block=1, upscale=2)
    with pytest.raises(ValueError, match="restoration keeps the size"):
        constyle_arch.restore(network, np.zeros((8, 8, 3), np.uint8))
