"""KBNet's and Uformer's operators by others' networks, and the ConStyle networks with them by
golden data."""

import numpy as np
import pytest
import torch
from spandrel.architectures.KBNet.__arch.kbnet_s import KBBlock_s
from spandrel.architectures.Uformer.__arch.Uformer import LeWinTransformerBlock
from torch import nn

from constyle_arch.archs import ConStyleKBNet, ConStyleUformer
from constyle_arch.archs.kbnet_arch import KBBlock
from constyle_arch.archs.uformer_arch import LeWinBlock
from constyle_arch.checkpoints.conversion import convert
from constyle_arch.checkpoints.loading import load_network
from constyle_arch.checkpoints.published_names import to_published
from constyle_arch.checkpoints.reading import read_state_dict
from tests.golden.formula_weights import formula_input, formula_tensor
from tests.networks import GOLDEN, assert_agrees


def released(network):
    """The release's names with formula weights; whole numbers are the network's own."""
    return {
        name: torch.from_numpy(np.asarray(formula_tensor(name, tensor.shape)))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in to_published(network.state_dict(), type(network).__name__).items()
    }


@pytest.mark.parametrize(
    ("make", "parameters"), [(ConStyleKBNet, 5_074_928), (ConStyleUformer, 4_142_893)]
)
def test_network_agrees_with_the_release_and_goes_back_into_it(tmp_path, make, parameters):
    golden = np.load(GOLDEN / "kbnet_and_uformer.npz")
    published = released(make())
    torch.save({"params": published}, tmp_path / "release.pth")
    network = load_network(tmp_path / "release.pth")
    assert type(network) is make
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    size = golden[make.__name__].shape[-1] * 2  # every second pixel is stored
    with torch.no_grad():
        assert_agrees(
            network(torch.from_numpy(formula_input((1, 3, size, size), 7)))[..., ::2, ::2],
            golden[make.__name__],
        )
    convert(str(tmp_path / "release.pth"), str(tmp_path / "own.safetensors"), key="params")
    convert(str(tmp_path / "own.safetensors"), str(tmp_path / "back.pth"), names="published")
    back = read_state_dict(tmp_path / "back.pth")
    assert set(back) == set(published)
    assert all(torch.equal(back[name], published[name]) for name in published)


def assert_same_values_and_gradients(block, other, x, flatten):
    """`other` takes what `flatten` makes of an image; it has the tensors of `block`, by their
    names."""
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    other.load_state_dict(block.state_dict())
    y, expected = block(x), other(flatten(x))
    torch.testing.assert_close(flatten(y), expected)
    y.square().mean().backward()
    expected.square().mean().backward()
    gradients = dict(other.named_parameters())
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("channels", [8, 64])
def test_kbnets_block_is_that_of_its_authors(channels):
    torch.manual_seed(0)
    x = torch.rand(2, channels, 6, 9, dtype=torch.double)
    assert_same_values_and_gradients(
        KBBlock(channels).double(), KBBlock_s(channels).double(), x, lambda x: x
    )


@pytest.mark.parametrize("modulator", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_uformers_block_is_that_of_its_authors(shifted, modulator):
    torch.manual_seed(0)
    block = LeWinBlock(8, heads=2, modulator=modulator).double()
    block.shifted = shifted
    other = LeWinTransformerBlock(
        8, (24, 24), 2, shift_size=4 * shifted, modulator=modulator
    ).double()
    x = torch.rand(2, 8, 24, 24, dtype=torch.double)
    assert_same_values_and_gradients(block, other, x, lambda x: x.flatten(2).mT)


@pytest.mark.parametrize(("height", "width"), [(8, 24), (24, 16)])
def test_shifted_windows_do_not_reach_across_the_border(height, width):
    """A pixel changes what lies in its window of 8×8, moved by 4; the others stay."""
    torch.manual_seed(0)
    block = LeWinBlock(4).double()
    block.shifted = True
    x = torch.rand(1, 4, height, width, dtype=torch.double)
    changed = x.clone()
    changed[..., 0, 0] += 1
    moved = (block.attend(changed) - block.attend(x)).abs().amax(dim=(0, 1)) > 0
    expected = torch.zeros(height, width, dtype=torch.bool)
    expected[:4, :4] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConStyleKBNet(dim=48), "A KBBlock has 48 channels"),
        (
            lambda: ConStyleUformer(heads=(1, 2)),
            r"heads is \[1, 2\]; it must list those of four widths",
        ),
        (lambda: ConStyleUformer(heads=(1, 3, 4, 8)), "heads is 3 on a level of 64 channels"),
    ],
)
def test_options_that_do_not_fit_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
