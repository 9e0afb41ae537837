"""MAXIM-2S and -3S against golden data of Google's release, in its own names, layouts and
padding."""

import gzip
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from constyle_arch.archs import MultiStageMaxim
from constyle_arch.archs.multi_stage_maxim_arch import pad_both_sides
from constyle_arch.checkpoints.conversion import convert
from constyle_arch.checkpoints.loading import load_network
from constyle_arch.checkpoints.published_names import from_published
from constyle_arch.checkpoints.reading import read_state_dict
from constyle_arch.errors import CheckpointError
from tests.golden.formula_weights import formula_input, formula_tensor
from tests.networks import GOLDEN, assert_agrees

SHAPES = json.loads(gzip.decompress((GOLDEN / "maxim_jax_shapes.json.gz").read_bytes()))


def write_release(path, stages):
    """A file as Google's, with formula weights; and with what the optimizer left there, which
    nobody asks for."""
    arrays = {
        "opt/state/step": np.int64(7),
        "opt/state/param_states/stage_0_input_conv_0/kernel/v": np.zeros(3),
    }
    for name, shape in SHAPES[f"S-{stages}"].items():
        value = formula_tensor(name + ".weight" * name.endswith("scale"), shape[::-1]).T
        arrays[name] = value * np.float32(0.6 if name.endswith("kernel") else 1)
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def two_stages(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("maxim") / "maxim.npz", 2)


@pytest.mark.parametrize(("stages", "millions"), [(2, 14.176), (3, 22.213)])
def test_released_weights_restore_as_their_authors_network(tmp_path, stages, millions):
    golden = np.load(GOLDEN / "maxim_jax.npz")
    network = load_network(write_release(tmp_path / "maxim.npz", stages))
    assert isinstance(network, MultiStageMaxim)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=6e-4)
    assert count == sum(math.prod(shape) for shape in SHAPES[f"S-{stages}"].values())
    lq = torch.from_numpy(formula_input((1, 3, 64, 64), 7))
    with torch.no_grad():
        assert_agrees(network(lq), golden[f"S-{stages}/output"])
        images = network.all_images(lq)
    assert len(images) == stages
    for stage, scales in enumerate(images):
        for level, image in enumerate(reversed(scales)):  # the release gives the coarse one first
            measured = torch.stack([image.mean(), image.std(unbiased=False)])
            expected = torch.from_numpy(golden[f"S-{stages}/stage{stage}_scale{level}_mean_std"])
            torch.testing.assert_close(measured, expected, rtol=1e-4, atol=0)


def test_release_is_converted_without_loss_and_loads_like_itself(two_stages, tmp_path):
    convert(str(two_stages), str(tmp_path / "out.safetensors"))
    convert(str(tmp_path / "out.safetensors"), str(tmp_path / "back.pth"), names="published")
    published, back = read_state_dict(two_stages), read_state_dict(tmp_path / "back.pth")
    assert published["stage_0_input_conv_0.weight"].shape == (32, 3, 3, 3)
    assert set(back) == set(published)
    assert all(torch.equal(back[name], published[name]) for name in published)
    own, loaded = from_published(published), load_network(tmp_path / "out.safetensors").state_dict()
    assert set(own) == set(loaded)
    assert all(torch.equal(own[name], loaded[name]) for name in own)


@pytest.mark.parametrize("size", [(70, 83), (64, 65), (127, 64), (33, 60)])
def test_images_are_extended_as_the_release_does(size):
    """It makes both sides even at their ends, and then multiples of 64 on both ends."""
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    even = np.pad(image, [(0, size[0] % 2), (0, size[1] % 2), (0, 0)], mode="reflect")
    missing = [(64 - length % 64) % 64 for length in even.shape[:2]]
    expected = np.pad(
        even, [(number // 2, number // 2) for number in missing] + [(0, 0)], mode="reflect"
    )
    lq = torch.from_numpy(image).permute(2, 0, 1)[None]
    padded = pad_both_sides(lq, 64)
    np.testing.assert_array_equal(padded[0].permute(1, 2, 0).numpy(), expected)
    torch.manual_seed(0)
    network = MultiStageMaxim(num_stages=2, dim=4, num_blocks_bottleneck=1).eval()
    with torch.no_grad():
        restored = network(torch.from_numpy(expected).permute(2, 0, 1)[None])
        top, left = (number // 2 for number in missing)
        cut = restored[..., top : top + size[0], left : left + size[1]]
        torch.testing.assert_close(network(lq), cut)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 65)])
def test_small_images_are_restored(size):
    network = MultiStageMaxim(num_stages=2, dim=4, num_blocks_bottleneck=1)
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_gradients_reach_all_that_is_trained():
    network = MultiStageMaxim(num_stages=3, dim=4, num_blocks_bottleneck=1)
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"heads.2.{scale}.{kind}" for scale in (1, 2) for kind in ("weight", "bias")}


def test_gelu_is_computed_by_tanh():
    network = MultiStageMaxim(num_stages=2, dim=4, num_blocks_bottleneck=1)
    assert {module.approximate for module in network.modules() if isinstance(module, nn.GELU)} == {
        "tanh"
    }


def test_one_stage_is_the_other_network():
    with pytest.raises(ValueError, match="num_stages is 1; it must be at least 2"):
        MultiStageMaxim(num_stages=1)


def test_other_npz_files_are_refused(tmp_path, two_stages):
    np.savez(tmp_path / "other.npz", conv=np.zeros((3, 3)))
    with pytest.raises(
        CheckpointError, match=r"other\.npz .*no release of MAXIM: none of its 1 names begins"
    ):
        load_network(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", **{"opt/target/a/kernel": np.array([{}], dtype=object)})
    with pytest.raises(CheckpointError, match=r"objects\.npz cannot be read"):
        load_network(tmp_path / "objects.npz")
    content = bytearray(two_stages.read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "changed.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"changed\.npz cannot be read; it is damaged"):
        load_network(tmp_path / "changed.npz")
