"""Weights are converted from one form of file to another."""

import pytest
import torch

from constyle_arch.archs.conv_arch import ConStyleConv
from constyle_arch.checkpoints.conversion import convert
from constyle_arch.checkpoints.loading import load_network, own_names
from constyle_arch.checkpoints.reading import read_state_dict
from constyle_arch.errors import CheckpointError
from tests.networks import SHAPES, TINY, published_state_dict
from tests.processes import run_command
from tests.shared import equal


@pytest.mark.parametrize("middle", ["own.pth", "own.safetensors"])
@pytest.mark.parametrize("name", SHAPES)
def test_conversion_there_and_back_is_bit_identical(tmp_path, name, middle):
    published = published_state_dict(name)
    torch.save({"params": published}, tmp_path / "in.pth")
    convert(str(tmp_path / "in.pth"), str(tmp_path / middle), key="params")
    convert(str(tmp_path / middle), str(tmp_path / "back.safetensors"), names="published")
    assert equal(read_state_dict(tmp_path / "back.safetensors"), published)
    own = read_state_dict(tmp_path / middle)
    assert equal(
        {key: tensor for key, tensor in own.items() if not key.startswith("left_out/")},
        own_names(published),
    )


def test_converted_release_loads_like_the_release(tmp_path):
    torch.save(
        {"params": published_state_dict("ConStyleNAFNet_small_train"), "epoch": 7},
        tmp_path / "in.pth",
    )
    result = run_command("convert", "in.pth", "out.pth", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert torch.load(tmp_path / "out.pth", weights_only=True)["epoch"] == 7
    networks = [load_network(tmp_path / name).state_dict() for name in ("in.pth", "out.pth")]
    assert equal(*networks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("w.pth", "there.pth"), "there.pth already exists"),
        (("w.pth", "w.pth", "--overwrite"), "w.pth already exists"),
        (("w.pth", "out.safetensors"), "choose one with --key"),
        (("w.pth", "out.bin"), "must end in .pth or .safetensors"),
        (("w.pth", "out.pth", "--key", "ema"), "has no key 'ema'; it has params"),
        (("bare.pth", "out.pth", "--key", "params"), "bare.pth holds weights alone"),
        (("4.state", "out.pth"), "4.state is a training state, which holds no weights; name the"),
        (("no.pth", "out.pth"), "no.pth does not exist"),
    ],
)
def test_conversion_that_cannot_be_done_is_refused_and_writes_nothing(tmp_path, arguments, message):
    weights = TINY["NAFNet"]().state_dict()
    torch.save({"params": weights}, tmp_path / "w.pth")
    torch.save(weights, tmp_path / "bare.pth")
    torch.save({"epoch": 0, "iter": 4, "optimizers": [], "schedulers": []}, tmp_path / "4.state")
    (tmp_path / "there.pth").write_text("precious")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run_command("convert", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_published_names_that_would_not_be_read_again_are_refused(tmp_path):
    """This activation has no weights, by which the release is recognized."""
    network = ConStyleConv(
        dim=8,
        activation="leaky_relu",
        num_blocks_down=[1, 1, 1],
        num_blocks_bottleneck=1,
        num_blocks_up=[1, 1, 1],
    )
    torch.save(network.state_dict(), tmp_path / "in.pth")
    with pytest.raises(CheckpointError, match="The release of ConStyleConv has no such network"):
        convert(tmp_path / "in.pth", tmp_path / "out.pth", names="published")
    assert not (tmp_path / "out.pth").exists()
