"""The networks of the recipes, their options written out, and the ablations of one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from writing import keys


@dataclass(frozen=True)
class Network:
    """A network and how it is trained.

    Args:
        title: what people call it.
        options: of `network_g`; the defaults, written out.
        batch_size: of the paper; `batch_size_of` has the tasks where it is another.
        guided: whether ConStyle guides it, and trains with it.
        prompted: whether its ConStyle is a trained prompter's and stays as it is, as in ConStyle
            v2.
    """

    title: str
    options: Mapping[str, Any]
    batch_size: int = 16
    guided: bool = True
    prompted: bool = False


RESTORMER = keys(
    "num_refinement_blocks: 4, heads: [1, 2, 4, 8], ffn_expansion_factor: 2.66, bias: false, "
    "layer_norm_type: WithBias"
)

NETWORKS = {
    "constyle_restormer": Network(
        "ConStyle-Restormer",
        keys(
            "type: ConStyleRestormer, dim: 48, num_blocks_down: [4, 6, 6], "
            "num_blocks_bottleneck: 8, num_blocks_up: [6, 6, 4]"
        )
        | RESTORMER,
        batch_size=8,
    ),
    "constyle_nafnet": Network(
        "ConStyle-NAFNet",
        keys(
            "type: ConStyleNAFNet, dim: 48, num_blocks_down: [7, 8, 9], num_blocks_bottleneck: 9, "
            "num_blocks_up: [9, 8, 7], num_refinement_blocks: 0"
        ),
    ),
    "constyle_maxim": Network(
        "ConStyle-MAXIM",
        keys("type: ConStyleMaxim, dim: 32, num_blocks_bottleneck: 2, bias: false"),
    ),
    "restormer": Network(
        "Restormer",
        keys("type: Restormer, dim: 48, num_blocks: [4, 6, 6, 8]") | RESTORMER,
        batch_size=8,
        guided=False,
    ),
    "nafnet": Network(
        "NAFNet",
        keys(
            "type: NAFNet, width: 64, enc_blk_nums: [5, 6, 7, 7], middle_blk_num: 7, "
            "dec_blk_nums: [5, 6, 7, 7]"
        ),
        guided=False,
    ),
    "maxim": Network(
        "MAXIM-1S", keys("type: Maxim, dim: 32, num_blocks_bottleneck: 2, bias: true"), guided=False
    ),
    "v2_conv": Network(
        "ConStyle-Conv",
        keys(
            "type: ConStyleConv, dim: 48, num_blocks_down: [1, 1, 1], num_blocks_bottleneck: 1, "
            "num_blocks_up: [1, 1, 1]"
        ),
        prompted=True,
    ),
}

DEMO = keys(
    "type: ConStyleRestormer, dim: 16, num_blocks_down: [1, 1, 2], num_blocks_bottleneck: 2, "
    "num_blocks_up: [2, 1, 1], num_refinement_blocks: 1, encoder_initialization: published"
)
"""Published initialization and, in `demo_training`, codes as they are: what the demos were measured
with."""

TRAINED = keys(
    "type: ConStyleConv, dim: 32, activation: leaky_relu, num_blocks_down: [2, 2, 1], "
    "num_blocks_bottleneck: 1, num_blocks_up: [1, 1, 2]"
)
"""The pretrained networks' architecture, except for dehazing."""
TRAINED_DEHAZE = keys(
    "type: ConStyleNAFNet, dim: 32, num_blocks_down: [1, 2, 2], num_blocks_bottleneck: 2, "
    "num_blocks_up: [2, 1, 1]"
)
"""Haze is seen in colours and contrast over a wide area, which attention between channels takes
in."""


@dataclass(frozen=True)
class Ablation:
    """A row of a table of the paper, as what differs from the recipe.

    Args:
        title: what the row is.
        without: sections of `train` that are left out.
        network: what is added to `network_g`.
        contrast: what is added to `train.contrast`.
        contrastive: what is added to `train.contrastive_opt`.
    """

    title: str
    without: tuple[str, ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)
    contrast: Mapping[str, Any] = field(default_factory=dict)
    contrastive: Mapping[str, Any] = field(default_factory=dict)


def _usual_contrast(title: str, queue_size: int, weight: float = 1) -> Ablation:
    """The contrast of an earlier method: two crops of one degraded image, and a queue of keys."""
    return Ablation(
        f"the contrast of {title}, as in figure 3",
        without=("content_opt", "style_opt"),
        network={"use_features": False},
        contrast={"queue_size": queue_size, "positive": "degraded", "enqueue": "key"},
        contrastive={"loss_weight": weight},
    )


ABLATIONS = {
    "moco": _usual_contrast("MoCo (arXiv 1911.05722)", 65536),
    "dasr": _usual_contrast("DASR (arXiv 2104.00416)", 32 * 256),
    "airnet": _usual_contrast("AirNet (CVPR 2022)", 16 * 256, weight=0.1),
    "pixel": Ablation("the pixel loss alone", ("contrastive_opt", "content_opt", "style_opt")),
    "no_contrastive": Ablation("no InfoNCE loss", ("contrastive_opt",)),
    "no_content": Ablation("no content loss", ("content_opt",)),
    "no_style": Ablation("no style loss", ("style_opt",)),
    "infonce": Ablation("InfoNCE alone of ConStyle's losses", ("content_opt", "style_opt")),
    "no_code": Ablation(
        "ConStyle's features guide the network, its code does not", network={"use_code": False}
    ),
    "no_features": Ablation(
        "ConStyle's code guides the network, its features do not", network={"use_features": False}
    ),
    "no_guide": Ablation(
        "neither ConStyle's features nor its code guide the network",
        network={"use_features": False, "use_code": False},
    ),
}
"""The rows of the paper's ablations; each has a file for each of `ABLATED`."""

ABLATED = ("derain", "denoise")
