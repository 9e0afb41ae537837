"""Working out a network and its hyperparameters from the names and shapes of its weights."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from constyle_arch.errors import CheckpointError, UnknownNetworkError

Options = dict[str, Any]

FOREIGN = {
    r"(encoder|decoder|middle_blks|latent|refinement).*\.attgamma$": "KBNet",
    r"(encoderlayer|decoderlayer|conv).*\.attn\.qkv\.to_kv\.weight$": "Uformer",
}
"""Names that networks have which look like one of ours and are not."""


def foreign_network(state_dict: Mapping[str, Tensor]) -> str | None:
    """The name of a network that this package lacks, if the tensors' names tell it."""
    for pattern, network in FOREIGN.items():
        if any(re.match(pattern, name) for name in state_dict):
            return network
    return None


def detect_network(state_dict: Mapping[str, Tensor]) -> tuple[str, Options]:
    """The architecture of weights under this project's names, and its constructor's arguments.

    Raises:
        UnknownNetworkError: the weights are of no network of this package.
        CheckpointError: they are of one, but tensors are missing.
    """
    try:
        return _detected(state_dict)
    except (LookupError, ValueError) as error:  # a name is not there, or a tensor has too few axes
        missing = f" ({error.args[0]})" if isinstance(error, KeyError) else ""
        raise CheckpointError(
            f"The weights are those of a network of this package, but incomplete{missing}; take a "
            "whole file."
        ) from error


def _detected(state_dict: Mapping[str, Tensor]) -> tuple[str, Options]:
    foreign = foreign_network(state_dict)
    if foreign is not None:
        raise UnknownNetworkError(
            f"These {len(state_dict)} weights are those of {foreign}, a network that this package "
            "does not have."
        )
    weights = _Weights(state_dict)
    guided = "encoder.stages.0.0.weight" in state_dict
    if guided and "refine.0.weight" in state_dict:
        activation = "prelu" if "preprocess.1.weight" in state_dict else "leaky_relu"
        return "ConStyleConv", {**_guided(weights), "activation": activation}
    if guided and "preprocess.0.weight" in state_dict and weights.has("attn.qkv.to_kv.weight"):
        return "ConStyleUformer", {**_guided(weights), "heads": _window_heads(weights, _WIDTHS)}
    if guided and "preprocess.bias" in state_dict and weights.has("attgamma"):
        return "ConStyleKBNet", _guided(weights)
    if guided and "preprocess.0.weight" in state_dict:
        return "ConStyleMaxim", {**_maxim(weights), **_guides(weights)}
    if guided and (general := _general(weights)):
        return "GeneralRestorationNetwork", {**_guided(weights), **_refined(weights), **general}
    if guided and weights.has("attn.qkv.weight"):
        transformer = _transformer(weights, _GUIDED_LEVELS)
        return "ConStyleRestormer", {**_guided(weights), **_refined(weights), **transformer}
    if guided and weights.has("sca.1.weight"):
        bias = "output.bias" in state_dict
        return "ConStyleNAFNet", {**_guided(weights), **_refined(weights), "bias": bias}
    if "downsample.0.weight" in state_dict and "refine.0.weight" in state_dict:
        return "OriginConv", {"dim": weights.width("preprocess.0.weight")}
    if "patch_embed.proj.weight" in state_dict and weights.has("attn.qkv.weight"):
        return "Restormer", _restormer(weights)
    if "intro.weight" in state_dict and (weights.has("sca.1.weight") or weights.has("se.1.weight")):
        return "NAFNet", _nafnet(weights)
    if "stages.1.preprocess.0.weight" in state_dict:
        return "MultiStageMaxim", _multi_stage_maxim(weights)
    if "preprocess.0.weight" in state_dict and weights.has("gate.mix.weight"):
        return "Maxim", _maxim(weights)
    raise UnknownNetworkError(
        f"These {len(state_dict)} weights are of no network of this package; the first is called "
        f"{next(iter(state_dict), None)!r}. Name the architecture with `type` (--type)."
    )


_STAGES = ("down.0", "down.1", "down.2", "bottleneck", "up.0", "up.1", "up.2", "refine")
_GUIDED_LEVELS = dict(zip(_STAGES, (0, 1, 2, 3, 2, 1, 0, 0), strict=True))
_WIDTHS = dict(zip(_STAGES[:-1], (0, 1, 2, 3, 3, 2, 1), strict=True))
"""How often d a stage's channels are, less one."""
_RESTORMER_STAGES = ("encoder_level1", "encoder_level2", "encoder_level3", "latent", "refinement")
_RESTORMER_LEVELS = dict(zip(_RESTORMER_STAGES, (0, 1, 2, 3, 0), strict=True))


class _Weights:
    """Questions about a state dict's names and shapes."""

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}

    def has(self, ending: str) -> bool:
        """Whether a name ends so."""
        return any(name.endswith("." + ending) for name in self.shapes)

    def width(self, name: str) -> int:
        """Length of the first axis."""
        return self.shapes[name][0]

    def blocks(self, stage: str) -> int:
        """How many numbered children `stage` has."""
        matches = (re.match(rf"{re.escape(stage)}\.(\d+)\.", name) for name in self.shapes)
        return len({match[1] for match in matches if match})

    def find(self, pattern: str) -> list[tuple[re.Match[str], tuple[int, ...]]]:
        """The names that match from their beginning to their end, with their shapes."""
        matches = ((re.fullmatch(pattern, name), shape) for name, shape in self.shapes.items())
        return [(match, shape) for match, shape in matches if match]


def _guides(weights: _Weights) -> Options:
    return {
        "use_features": "project_features.0.0.weight" in weights.shapes,
        "use_code": "project_code.weight" in weights.shapes,
    }


def _guided(weights: _Weights) -> Options:
    return {
        "dim": weights.width("fuse.weight") // 3,
        "num_blocks_down": [weights.blocks(f"down.{stage}") for stage in range(3)],
        "num_blocks_bottleneck": weights.blocks("bottleneck"),
        "num_blocks_up": [weights.blocks(f"up.{stage}") for stage in range(3)],
        **_guides(weights),
    }


def _refined(weights: _Weights) -> Options:
    return {"num_refinement_blocks": weights.blocks("refine")}


def _general(weights: _Weights) -> Options:
    """A registered operator and its options; empty where its network has a name of its own."""
    bias, fuse_bias = "output.bias" in weights.shapes, "fuse.bias" in weights.shapes
    prelu = "project_features.0.1.weight" in weights.shapes
    activation = "prelu" if prelu else "leaky_relu"
    rest = {"bias": bias, "fuse_bias": fuse_bias, "feature_activation": activation}
    if weights.has("attn.qkv.weight"):
        options = _transformer(weights, _GUIDED_LEVELS)
        if options["bias"] == bias == fuse_bias and (prelu or not _guides(weights)["use_features"]):
            return {}  # ConStyleRestormer
        return {"operator": "TransformerBlock", "operator_options": options, **rest}
    if weights.has("attgamma"):
        return {"operator": "KBBlock", **rest}
    if weights.has("attn.qkv.to_kv.weight"):
        heads = _window_heads(weights, _GUIDED_LEVELS)
        options = {"heads": heads, "modulator": weights.has("modulator.weight")}
        return {"operator": "LeWinBlock", "operator_options": options, **rest}
    if weights.has("sca.1.weight"):
        return {"operator": "NAFBlock", **rest} if prelu or fuse_bias else {}  # else ConStyleNAFNet
    if mixings := weights.find(r"(.+)\.\d+\.0\.grid\.gate\.mix\.weight"):
        sides = [8] * len(set(_GUIDED_LEVELS.values()))
        for match, shape in mixings:
            sides[_GUIDED_LEVELS[match[1]]] = math.isqrt(shape[0])
        options = {"side": sides, "bias": weights.has("0.expand.bias")}
        return {"operator": "MaximBlock", "operator_options": options, **rest}
    block = r"(down\.\d|bottleneck|up\.\d|refine)\.\d+"
    if weights.find(rf"{block}\.1\.0\.weight"):
        activated = weights.find(rf"{block}\.1\.1\.weight")
        options = {"activation": "prelu" if activated else "leaky_relu"}
        return {"operator": "ConvBlock", "operator_options": options, **rest}
    return {}


def _maxim(weights: _Weights) -> Options:
    return {
        "dim": weights.width("preprocess.0.weight"),
        "num_blocks_bottleneck": weights.blocks("bottleneck"),
        "bias": "preprocess.0.bias" in weights.shapes,
    }


def _multi_stage_maxim(weights: _Weights) -> Options:
    return {
        "num_stages": weights.blocks("stages"),
        "dim": weights.width("stages.0.preprocess.0.weight"),
        "num_blocks_bottleneck": weights.blocks("stages.0.bottleneck"),
    }


def _restormer(weights: _Weights) -> Options:
    return {
        "dim": weights.width("patch_embed.proj.weight"),
        "num_blocks": [weights.blocks(stage) for stage in _RESTORMER_STAGES[:4]],
        "num_refinement_blocks": weights.blocks("refinement"),
        "inp_channels": weights.shapes["patch_embed.proj.weight"][1],
        "out_channels": weights.width("output.weight"),
        "dual_pixel_task": "skip_conv.weight" in weights.shapes,
        **_transformer(weights, _RESTORMER_LEVELS),
    }


def _nafnet(weights: _Weights) -> Options:
    levels = weights.blocks("downs")
    return {
        "width": weights.width("intro.weight"),
        "enc_blk_nums": [weights.blocks(f"encoders.{level}") for level in range(levels)],
        "middle_blk_num": weights.blocks("middle_blks"),
        "dec_blk_nums": [weights.blocks(f"decoders.{level}") for level in range(levels)],
        "img_channel": weights.width("ending.weight"),
        "block": "NAF" if weights.has("sca.1.weight") else "Baseline",
    }


def _window_heads(weights: _Weights, stages: Mapping[str, int]) -> list[int]:
    """Heads of Uformer's operator by stage; one without blocks keeps the default."""
    return _by_level(weights, r"(.+)\.\d+\.attn\.relative_position_bias_table", stages, axis=1)


def _transformer(weights: _Weights, levels: Mapping[str, int]) -> Options:
    """Options of Restormer's operator."""
    return {
        "heads": _by_level(weights, r"(.+)\.\d+\.attn\.temperature", levels, axis=0),
        "ffn_expansion_factor": _expansion_factor(weights),
        "bias": weights.has("attn.qkv.bias"),
        "layer_norm_type": "WithBias" if weights.has("norm1.body.bias") else "BiasFree",
    }


def _by_level(weights: _Weights, pattern: str, levels: Mapping[str, int], axis: int) -> list[int]:
    """Heads on each level, the length of an axis of what `pattern` finds in a stage."""
    heads = [1, 2, 4, 8]
    for match, shape in weights.find(pattern):
        if match[1] in levels:
            heads[levels[match[1]]] = shape[axis]
    return heads


def _expansion_factor(weights: _Weights) -> float:
    """The shortest decimal f for which int(f·C) is the hidden width of all blocks of width C."""
    widths = {(shape[0], shape[1]) for _, shape in weights.find(r".+\.ffn\.project_out\.weight")}
    low = max(hidden / channels for channels, hidden in widths)
    for digits in range(10):
        factor = math.ceil(round(low * 10**digits, 6)) / 10**digits
        if all(int(factor * channels) == hidden for channels, hidden in widths):
            return factor
    raise CheckpointError(
        f"No expansion factor gives the feed-forward widths (channels, hidden) {sorted(widths)}."
    )
