"""Networks of tests: small ones, published ones, and any that can be made of random options."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from constyle_arch.archs import (
    ConStyleConv,
    ConStyleMaxim,
    ConStyleNAFNet,
    ConStyleRestormer,
    Maxim,
    NAFNet,
    Restormer,
)
from constyle_arch.registry import ARCH_REGISTRY
from tests.golden.formula_weights import formula_tensor
from tests.shared import keys, small_network

GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads((GOLDEN / "state_dict_shapes.json").read_text())
SMALL_NAFNET = keys(
    "dim: 16, num_blocks_down: [1, 2, 1], num_blocks_bottleneck: 2, num_blocks_up: [2, 1, 1]"
)
SMALL = {**SMALL_NAFNET, "num_refinement_blocks": 1, "layer_norm_type": "BiasFree"}
NETWORKS = {
    "ConStyleRestormer": ConStyleRestormer,
    "ConStyleRestormer_small": partial(ConStyleRestormer, **SMALL),
    "ConStyleNAFNet": ConStyleNAFNet,
    "ConStyleNAFNet_small": partial(ConStyleNAFNet, **SMALL_NAFNET),
    "ConStyleMaxim": ConStyleMaxim,
    "ConStyleConv": ConStyleConv,
    "Restormer": Restormer,
    "NAFNet": NAFNet,
    "Maxim": Maxim,
}


def published_state_dict(name: str) -> dict[str, Tensor]:
    return {
        tensor: torch.from_numpy(np.asarray(formula_tensor(tensor, shape)))
        for tensor, shape in SHAPES[name].items()
    }


def assert_agrees(actual: Tensor, golden: np.ndarray) -> None:
    """To 1e-4 of the golden values' standard deviation."""
    expected = torch.from_numpy(golden)
    assert (actual - expected).abs().max() < 1e-4 * expected.std()


TINY = {
    "ConStyleRestormer": partial(ConStyleRestormer, **SMALL),
    "ConStyleNAFNet": partial(ConStyleNAFNet, **SMALL_NAFNET),
    "Restormer": partial(Restormer, dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1),
    "ConStyleMaxim": partial(ConStyleMaxim, dim=8, num_blocks_bottleneck=1),
    "Maxim": partial(Maxim, dim=8, num_blocks_bottleneck=1),
    "NAFNet": partial(NAFNet, width=8, enc_blk_nums=(1, 1), middle_blk_num=1, dec_blk_nums=(1, 1)),
}


def _unet(draw):
    """Options of any U-Net with ConStyle."""
    return {
        "dim": 4 * draw.randint(2, 6),
        "num_blocks_down": [draw.randint(0, 2) for _ in range(3)],
        "num_blocks_bottleneck": draw.randint(1, 2),
        "num_blocks_up": [draw.randint(0, 2) for _ in range(3)],
        **_guides(draw),
    }


def _guides(draw):
    return {"use_features": draw.random() < 0.5, "use_code": draw.random() < 0.5}


def _restormer(draw, factors):
    """Options of Restormer's operator, guided or not."""
    return {
        "num_refinement_blocks": draw.randint(0, 2),
        "heads": [draw.choice([1, 2, 4]) for _ in range(4)],
        "ffn_expansion_factor": draw.choice(factors),
        "bias": draw.random() < 0.5,
        "layer_norm_type": draw.choice(["WithBias", "BiasFree"]),
    }


def _maxim(draw):
    return {
        "dim": 4 * draw.randint(1, 4),
        "num_blocks_bottleneck": draw.randint(0, 3),
        "bias": draw.random() < 0.5,
    }


RANDOM_OPTIONS = {
    "ConStyleRestormer": lambda draw: {**_unet(draw), **_restormer(draw, [2, 2.66, 1.5, 3.141])},
    "ConStyleNAFNet": lambda draw: {
        **_unet(draw),
        "num_refinement_blocks": draw.randint(0, 2),
        "bias": draw.random() < 0.5,
    },
    "ConStyleConv": lambda draw: {
        **_unet(draw),
        **keys("activation: prelu, num_blocks_down: [1, 1, 1], num_blocks_bottleneck: 1"),
        "num_blocks_up": [1, 1, 1],
    },
    "ConStyleMaxim": lambda draw: _guides(draw) | _maxim(draw),
    "ConStyleKBNet": lambda draw: {**_unet(draw), "dim": draw.choice([4, 8, 32])},
    "ConStyleUformer": lambda draw: {
        **_unet(draw),
        "heads": [draw.choice([1, 2, 4]) for _ in range(4)],
    },
    "Restormer": lambda draw: {
        "inp_channels": (channels := draw.choice([1, 3])),
        "out_channels": channels,
        "dual_pixel_task": draw.random() < 0.5,
        "dim": 4 * draw.randint(2, 6),
        "num_blocks": [draw.randint(0, 2) for _ in range(3)] + [draw.randint(1, 2)],
        **_restormer(draw, [2, 2.66, 1.5]),
    },
    "NAFNet": lambda draw: {
        "width": draw.randint(4, 12),
        "enc_blk_nums": (levels := [draw.randint(0, 2) for _ in range(draw.randint(1, 4))]),
        "middle_blk_num": draw.randint(1, 2),
        "img_channel": draw.choice([1, 3]),
        "block": draw.choice(["NAF", "Baseline"]),
        "dec_blk_nums": levels[::-1],
    },
    "MultiStageMaxim": lambda draw: {
        "num_stages": draw.randint(2, 3),
        "dim": 4 * draw.randint(1, 2),
        "num_blocks_bottleneck": draw.randint(0, 2),
    },
    "Maxim": _maxim,
}


def built(network_g):
    """The network that options name."""
    options = dict(network_g)
    return ARCH_REGISTRY.get(options.pop("type"))(**options)


def random_network(seed=0):
    torch.manual_seed(seed)
    network = built(small_network())
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()
