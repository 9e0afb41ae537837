"""The networks against golden data, and on inputs of every size."""

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch.nn import functional as F

import constyle_arch
from constyle_arch.archs import (
    ConStyle,
    ConStyleConv,
    ConStyleMaxim,
    ConStyleNAFNet,
    ConStyleRestormer,
    Maxim,
    NAFNet,
    Restormer,
)
from constyle_arch.archs.layers import LayerNorm2d, pad_to_multiple
from constyle_arch.archs.maxim_blocks import resize_to
from constyle_arch.archs.restormer_arch import BiasFreeLayerNorm2d
from constyle_arch.checkpoints import loading
from constyle_arch.checkpoints.loading import load_network
from constyle_arch.checkpoints.published_names import from_published
from tests.golden.formula_weights import formula_input
from tests.networks import (
    GOLDEN,
    NETWORKS,
    SHAPES,
    SMALL,
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
