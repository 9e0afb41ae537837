"""The networks against golden data, and on inputs of every size."""

import json
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

import constyle_arch
from constyle_arch.archs import (
    ConStyle,
    ConStyleConv,
    ConStyleMaxim,
    ConStyleNAFNet,
    ConStyleRestormer,
    GeneralRestorationNetwork,
    Maxim,
    NAFNet,
    Restormer,
)
from constyle_arch.archs.fused import use_fused
from constyle_arch.archs.layers import LayerNorm2d, pad_to_multiple
from constyle_arch.archs.maxim_blocks import (
    GatingWeights,
    MultiAxisGatedMLP,
    ResidualDenseAttention,
    resize_to,
)
from constyle_arch.archs.nafnet_arch import NAFBlock
from constyle_arch.archs.restormer_arch import BiasFreeLayerNorm2d, TransformerBlock
from constyle_arch.checkpoints import loading
from constyle_arch.checkpoints.loading import load_network
from constyle_arch.checkpoints.published_names import from_published
from tests.golden.formula_weights import formula_input
from tests.shared import (
    GOLDEN,
    NETWORKS,
    SHAPES,
    SMALL,
    SMALL_NAFNET,
    TINY,
    assert_agrees,
    published_state_dict,
)


@pytest.mark.parametrize(
    ("initialization", "low", "high"), [("he", 0.1, 1), ("published", 0, 1e-3)]
)
def test_he_initialization_keeps_the_encoders_features_alive(initialization, low, high):
    torch.manual_seed(0)
    encoder = ConStyle(initialization=initialization)
    image = torch.from_numpy(formula_input((4, 3, 64, 64), 7))
    with torch.no_grad():
        assert low < encoder.features(image)[-1].std() < high


@pytest.mark.parametrize("activation", ["prelu", "leaky_relu"])
def test_a_new_network_of_convolutions_has_gradients_that_adam_takes_for_more_than_nothing(
    activation,
):
    """With PyTorch's default initialization they lie below Adam's epsilon, 1e-8, and nothing is
    learnt."""
    torch.manual_seed(0)
    network = ConStyleConv(dim=16, activation=activation)
    image = torch.from_numpy(formula_input((2, 3, 64, 64), 7))
    (network(image) - image.flip(3)).abs().mean().backward()
    for name, parameter in network.named_parameters():
        if not name.startswith("encoder.projections"):
            assert parameter.grad.abs().mean() > 1e-7, name


@pytest.mark.parametrize("name", NETWORKS)
def test_network_agrees_with_golden_data(name, tmp_path):
    golden = np.load(GOLDEN / "golden.npz")
    torch.save({"params": published_state_dict(name)}, tmp_path / "published.pth")
    network = load_network(tmp_path / "published.pth")
    assert type(network) is type(NETWORKS[name]())
    lq = torch.from_numpy(
        formula_input(golden[f"{name}/input_shape"], int(golden[f"{name}/input_seed"]))
    )
    with torch.no_grad():
        assert_agrees(network(lq), golden[f"{name}/output"])
        if f"{name}/code1" not in golden:
            return
        codes, features = network.encoder(lq)
    assert_agrees(codes.c1, golden[f"{name}/code1"])
    assert_agrees(codes.c2, golden[f"{name}/code2"])
    for index, feature in enumerate(features):
        measured = torch.stack([feature.mean(), feature.std(unbiased=False)])
        torch.testing.assert_close(
            measured, torch.from_numpy(golden[f"{name}/feat{index}_mean_std"]), rtol=1e-4, atol=0
        )


@pytest.mark.parametrize(
    ("network", "millions"),
    [
        (ConStyleRestormer, 15.575),
        (Restormer, 26.127),
        (ConStyleNAFNet, 12.740),
        (NAFNet, 87.404),
        (
            ConStyleMaxim,
            8.102 - 1.529,
        ),  # less what no forward pass of the published network touches
    ],
)
def test_parameter_counts_are_the_papers(network, millions):
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) / 1e6 == pytest.approx(
            millions, abs=6e-4
        )


@pytest.mark.parametrize("name", ["ConStyleMaxim", "Maxim"])
def test_maxim_holds_no_parameter_that_its_forward_pass_leaves_out(name):
    network = TINY[name]()
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert not [
        parameter for parameter, tensor in network.named_parameters() if tensor.grad is None
    ]


def test_network_holds_only_what_inference_needs():
    names = ConStyleRestormer(**SMALL).state_dict()
    assert not [
        name for name in names if "queue" in name or "encoder_k" in name or "momentum" in name
    ]
    assert len(names) == len(SHAPES["ConStyleRestormer_small"])


def test_momentum_encoder_and_queue_of_published_weights_are_left_out():
    published = published_state_dict("ConStyleRestormer_small")
    extras = {"ConStyle.queue": torch.zeros(128, 8), "ConStyle.queue_ptr": torch.zeros(1)}
    extras |= {
        name.replace("encoder_q", "encoder_k"): tensor
        for name, tensor in published.items()
        if "encoder_q" in name
    }
    ConStyleRestormer(**SMALL).load_state_dict(from_published({**published, **extras}), strict=True)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 16), (17, 31), (8, 65)])
@pytest.mark.parametrize("name", TINY)
def test_any_size_is_restored_like_its_padded_image(name, size):
    network = TINY[name]().eval()
    lq = torch.rand(2, 3, *size)
    with torch.no_grad():
        restored = network(lq)
        padded = network(network.padded(lq))
    assert restored.shape == lq.shape
    torch.testing.assert_close(restored, padded[..., : size[0], : size[1]])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", TINY)
def test_network_and_its_gradients_are_those_of_the_papers_equations(name, layout):
    torch.manual_seed(0)
    network = TINY[name]().double().to(memory_format=layout)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)  # β and γ of a new NAFNet would hide its blocks
    for encoder in (module for module in network.modules() if isinstance(module, ConStyle)):
        encoder.eval()  # statistics of two images divide by next to nothing
    by_equations = deepcopy(network)
    use_fused(by_equations, False)
    lq = torch.rand(2, 3, 64, 128, dtype=torch.double)
    restored, expected = network(lq), by_equations(lq)
    torch.testing.assert_close(restored, expected)
    for output in (restored, expected):
        output.square().mean().backward()
    for (parameter, tensor), other in zip(
        network.named_parameters(), by_equations.parameters(), strict=True
    ):
        assert (tensor.grad - other.grad).norm() <= 1e-9 * other.grad.norm(), parameter


BLOCKS = {
    "NAFBlock": lambda: NAFBlock(8),
    "TransformerBlock": lambda: TransformerBlock(8, heads=2),
    "MultiAxisGatedMLP": lambda: MultiAxisGatedMLP(8, side=4, bias=True),
    "GatingWeights": lambda: GatingWeights(8, side=4, bias=True),
    "ResidualDenseAttention": lambda: ResidualDenseAttention(8, bias=True),
}


def random_block(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    block = BLOCKS[name]().double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block, torch.rand(2, 8, 8, 12, dtype=torch.double)


@pytest.mark.parametrize("name", BLOCKS)
def test_hooks_of_layers_that_a_fused_block_skips_are_called_once(name):
    block, x = random_block(name)
    fused, calls = block(x), []
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            calls.clear()
            handle = layer.register_forward_hook(lambda *_: calls.append(1))
            torch.testing.assert_close(block(x), fused)
            handle.remove()
            assert len(calls) == 1, layer


class Doubled(nn.Module):
    """What libraries for LoRA and quantisation do: another module in the place of a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.layer(x)


@pytest.mark.parametrize("name", BLOCKS)
def test_layers_put_in_the_place_of_others_are_called(name):
    block, x = random_block(name)
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            doubled, replaced = deepcopy(block), deepcopy(block)
            for parameter in doubled.get_submodule(path).parameters():
                parameter.data *= 2
            parent, _, child = path.rpartition(".")
            setattr(replaced.get_submodule(parent), child, Doubled(deepcopy(layer)))
            torch.testing.assert_close(
                replaced(x), doubled(x), msg=lambda text, path=path: f"{path}: {text}"
            )


@pytest.mark.parametrize("size", [(4, 3), (8, 6), (20, 24)])
def test_resizing_is_bilinear_and_antialiased(size):
    x, like = torch.rand(2, 3, 8, 6), torch.empty(2, 3, *size)
    expected = F.interpolate(x, size=size, mode="bilinear", antialias=True)
    torch.testing.assert_close(resize_to(x, like), expected)


@pytest.mark.parametrize("name", TINY)
def test_everything_between_convolutions_is_channels_last(name, monkeypatch):
    """Layer normalisation, which every block begins with, is handed pixels with their channels
    beside each other."""
    network = TINY[name]()
    contiguous = []

    def layer_norm(x, *args, **kwargs):  # a hook would have the block computed by its equation
        contiguous.append(x.is_contiguous())
        return torch.layer_norm(x, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "layer_norm", layer_norm)
    with torch.no_grad():
        network(torch.rand(2, 3, 64, 64))
    assert len(contiguous) >= sum(isinstance(module, LayerNorm2d) for module in network.modules())
    assert all(contiguous)


@pytest.mark.parametrize("size", [(16, 16), (17, 31)])
@pytest.mark.parametrize("name", TINY)
def test_any_size_is_trained_on(name, size):
    network = TINY[name]().train()
    lq = torch.rand(2, 3, *size)
    restored = network(lq)
    assert restored.shape == lq.shape
    restored.square().mean().backward()
    assert not [
        parameter for parameter, tensor in network.named_parameters() if tensor.grad is None
    ]


def test_padding_mirrors_the_border_and_keeps_the_image():
    image = torch.arange(30.0).reshape(1, 1, 5, 6)
    padded = pad_to_multiple(image, 8)
    expected = np.pad(image[0, 0].numpy(), ((0, 3), (0, 2)), mode="reflect")
    np.testing.assert_array_equal(padded[0, 0].numpy(), expected)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 4, 32, 32), (3, 32, 32)])
@pytest.mark.parametrize("name", TINY)
def test_wrong_number_of_channels_is_named(name, shape):
    with pytest.raises(ValueError, match=r"wanted \(N, 3, H, W\)"):
        TINY[name]()(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 18}, "dim is 18"),
        ({"dim": 0}, "dim is 0"),
        ({"num_blocks_down": (1, 2)}, "num_blocks_down"),
        ({"num_blocks_up": (1, 2, -1)}, "num_blocks_up"),
        ({"heads": (1, 2, 4)}, "four levels"),
        ({"heads": (1, 2, 5, 8)}, "heads is 5 on a level of 48 channels"),
        ({"layer_norm_type": "Batch"}, "WithBias or BiasFree"),
        ({"num_blocks_bottleneck": -1}, "num_blocks_bottleneck is -1"),
        ({"num_refinement_blocks": -1}, "num_refinement_blocks is -1"),
    ],
)
def test_wrong_hyperparameters_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ConStyleRestormer(**{**SMALL, **options})


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (NAFNet, {"width": 0}, "width is 0"),
        (NAFNet, {"enc_blk_nums": (1, 1), "dec_blk_nums": (1,)}, "must be of one length"),
        (Restormer, {"dim": 10}, "dim is 10"),
        (Restormer, {"num_blocks": (1, 1, 1)}, "must list four levels"),
        (Restormer, {"heads": (1, 2, 4, 7)}, "heads is 7"),
        (Maxim, {"dim": 6}, "dim is 6"),
        (ConStyleMaxim, {"dim": 6}, "dim is 6"),
    ],
)
def test_wrong_hyperparameters_of_other_networks_are_named(network, options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_layer_norms_equal_their_formulas():
    x = torch.randn(2, 8, 3, 5)
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, unbiased=False)
    with_bias, bias_free = LayerNorm2d(8, eps=1e-5), BiasFreeLayerNorm2d(8)
    torch.testing.assert_close(with_bias(x), (x - mean) / (variance + 1e-5).sqrt())
    torch.testing.assert_close(bias_free(x), x / (variance + 1e-5).sqrt())


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


def test_encoder_code_ignores_image_size_but_features_follow_it():
    encoder = ConStyle().eval()
    codes, features = encoder(torch.rand(2, 3, 64, 48))
    assert codes.c1.shape == codes.c2.shape == (2, 128)
    assert [tuple(feature.shape) for feature in features] == [
        (2, 32, 32, 24),
        (2, 64, 16, 12),
        (2, 128, 8, 6),
    ]


@pytest.mark.parametrize(
    "name", sorted({type(make()).__name__ for make in TINY.values()} | {"ConStyleConv"})
)
def test_a_misspelt_option_is_reported_with_the_class_that_was_called(name):
    for wrong in ("dmi", "operater", "feature_activations"):
        with pytest.raises(
            TypeError, match=rf"^{name}\.__init__\(\) got an unexpected keyword argument '{wrong}'"
        ):
            ARCH_REGISTRY.get(name)(**{wrong: 8})


def test_the_package_offers_the_functions_themselves_with_their_signatures():
    assert constyle_arch.load_network is loading.load_network
    with pytest.raises(AttributeError, match="load_networks"):
        _ = constyle_arch.load_networks


def from_yaml(text: str) -> GeneralRestorationNetwork:
    options = yaml.safe_load(text)["network_g"]
    return ARCH_REGISTRY.get(options.pop("type"))(**options)


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
