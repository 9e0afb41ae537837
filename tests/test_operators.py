"""Operators of the general restoration network."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from constyle_arch.archs import ConStyleNAFNet, ConStyleRestormer, GeneralRestorationNetwork
from constyle_arch.archs.nafnet_arch import NAFBlock
from constyle_arch.checkpoints.loading import load_network
from tests.networks import SMALL, SMALL_NAFNET, built


def test_general_restoration_network_takes_any_operator():
    levels = []

    def operator(channels: int, level: int) -> nn.Module:
        levels.append((channels, level))
        return nn.Conv2d(channels, channels, 3, padding=1)

    network = GeneralRestorationNetwork(
        operator, dim=8, num_blocks_down=(1, 1, 2), num_blocks_bottleneck=1, num_blocks_up=(1, 1, 1)
    )
    assert sorted(levels) == sorted(
        [(8, 0), (16, 1), (24, 2), (24, 2), (32, 3), (32, 2), (24, 1), (16, 0)]
    )
    restored = network(torch.rand(2, 3, 20, 24))
    restored.mean().backward()
    unused = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not unused


def from_yaml(text: str) -> GeneralRestorationNetwork:
    return built(yaml.safe_load(text)["network_g"])


SIZES = "dim: 8, num_blocks_down: [1, 1, 1], num_blocks_bottleneck: 1, num_blocks_up: [1, 1, 1]"


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (ConStyleNAFNet, "operator: NAFBlock, num_refinement_blocks: 1"),
        (
            ConStyleRestormer,
            "operator: TransformerBlock, operator_options: {heads: [1, 2, 4, 8], layer_norm_type: "
            "BiasFree}, "
            "num_refinement_blocks: 1, feature_activation: prelu",
        ),
    ],
)
def test_general_network_of_a_registered_operator_is_the_network_named_after_it(network, options):
    sizes = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in SMALL_NAFNET.items()
    }
    named = network(
        **SMALL if network is ConStyleRestormer else {**sizes, "num_refinement_blocks": 1}
    )
    general = from_yaml(
        f"network_g: {{type: GeneralRestorationNetwork, {options}, {json.dumps(sizes)[1:-1]}}}"
    )
    general.load_state_dict(named.state_dict(), strict=True)
    lq = torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(general(lq), named(lq), rtol=0, atol=0)


OPERATORS = {
    "ConvBlock": 8,
    "ConvBlock, operator_options: {activation: leaky_relu}, num_refinement_blocks: 1": 8,
    "KBBlock": 8,
    "LeWinBlock, operator_options: {heads: [1, 2, 4, 8]}": 64,
    "LeWinBlock, operator_options: {heads: 2, modulator: true}, num_refinement_blocks: 2": 64,
    "MaximBlock": 64,
    "MaximBlock, operator_options: {side: [8, 4, 2, 1], bias: true}": 8,
    "NAFBlock": 8,
    "NAFBlock, feature_activation: prelu": 8,
    "NAFBlock, fuse_bias: true": 8,
    "TransformerBlock, operator_options: {bias: true}, bias: true, feature_activation: prelu": 8,
    "TransformerBlock, operator_options: {heads: [1, 2, 1, 2]}": 8,
    "TransformerBlock, bias: true, feature_activation: prelu": 8,
}
"""Operators, and what the sides of an image are padded to a multiple of for them."""


@pytest.mark.parametrize(("operator", "multiple"), OPERATORS.items())
def test_registered_operators_restore_any_size(operator, multiple):
    network = from_yaml(
        f"network_g: {{type: GeneralRestorationNetwork, operator: {operator}, {SIZES}}}"
    )
    assert network.multiple == multiple
    lq = torch.rand(2, 3, 17, 31)
    restored = network(lq)
    assert restored.shape == lq.shape
    restored.square().mean().backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("operator", OPERATORS)
def test_registered_operators_are_recognised_by_their_weights(operator, tmp_path):
    network = from_yaml(
        f"network_g: {{type: GeneralRestorationNetwork, operator: {operator}, {SIZES}}}"
    ).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    torch.save({"params": network.state_dict()}, tmp_path / "network.pth")
    lq = torch.rand(1, 3, 24, 40)
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "network.pth")(lq), network(lq))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"operator": "NAFBlok"},
            "operator is 'NAFBlok'; it must be one of ConvBlock, KBBlock, LeWinBlock, Max",
        ),
        ({"operator": 3}, "operator is 3"),
        ({"operator": "TransformerBlock", "operator_options": {"heads": [1, 2]}}, "of four levels"),
        ({"operator_options": 8}, "operator_options is 8"),
        (
            {"operator": lambda channels, level: nn.Identity(), "operator_options": {"heads": 1}},
            "operator_options",
        ),
        (
            {"feature_activation": "relu"},
            "feature_activation is 'relu'; it must be prelu or leaky_relu",
        ),
    ],
)
def test_wrong_operators_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GeneralRestorationNetwork(**options)


def test_all_three_places_of_figure_2_are_open_as_the_docs_show():
    page = (Path(__file__).parent.parent / "docs" / "networks.md").read_text()
    (example,) = re.findall(
        r"```python\n(from constyle_arch\.archs import Gen.*?)```", page, re.DOTALL
    )
    made: dict[str, GeneralRestorationNetwork] = {}
    exec(example, made)
    network, lq = made["network"].eval(), torch.rand(1, 3, 20, 24)
    for place, default in (
        (network.preprocess, nn.Conv2d),
        (network.down[0][0], NAFBlock),
        (network.output, nn.Conv2d),
    ):
        assert not isinstance(place, default)
    assert network(lq).shape == lq.shape
