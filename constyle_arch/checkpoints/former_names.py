"""This package's tensor names for Restormer and NAFNet before it took their releases'."""

from collections.abc import Mapping

from torch import Tensor

from constyle_arch.checkpoints.renaming import Part, each, to_ours

TRANSFORMER_BLOCK = [
    Part(f"norm{number}.{kind}", f"norm{number}.body.{kind}")
    for number in (1, 2)
    for kind in ("weight", "bias")
]
NAF_BLOCK = [
    *(Part(f"sca.{kind}", f"sca.1.{kind}") for kind in ("weight", "bias")),
    Part("squeeze.", "se.1."),
    Part("excite.", "se.3."),
]
RESTORMER = [
    Part("patch_embed.weight", "patch_embed.proj.weight"),
    *each("encoders.{}.", "encoder_level{}.", {0: 1, 1: 2, 2: 3}, TRANSFORMER_BLOCK),
    *(Part(f"downs.{level}.", f"down{level + 1}_{level + 2}.body.") for level in range(3)),
    *(Part(f"ups.{level}.", f"up{4 - level}_{3 - level}.body.") for level in range(3)),
    *each("reduces.{}.", "reduce_chan_level{}.", {0: 3, 1: 2}),
    *each("decoders.{}.", "decoder_level{}.", {0: 3, 1: 2, 2: 1}, TRANSFORMER_BLOCK),
    *(Part(stage, stage, TRANSFORMER_BLOCK) for stage in ("latent.", "refinement.")),
]
STAGES = ("down.", "bottleneck.", "up.", "refine.", "encoders.", "middle_blks.", "decoders.")
"""Of networks whose blocks alone were named otherwise."""
DROPPED = "zero_padding"
"""Told how a NAFNet pads; now it pads as its release does."""


def from_former(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state_dict`, this package's of whatever age, under the names of today."""
    transformer = any(name.endswith(".attn.temperature") for name in state_dict)
    block = TRANSFORMER_BLOCK if transformer else NAF_BLOCK
    former_restormer = "patch_embed.weight" in state_dict and transformer
    parts = RESTORMER if former_restormer else [Part(stage, stage, block) for stage in STAGES]
    return {to_ours(name, parts): tensor for name, tensor in state_dict.items() if name != DROPPED}
