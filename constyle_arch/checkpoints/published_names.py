"""The tensor names of releases whose networks are built differently here.

Restormer and NAFNet have their releases' names and need none of this.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from constyle_arch.checkpoints import maxim_names
from constyle_arch.checkpoints.maxim_names import (
    BOTTLENECK_BLOCK,
    CROSS_GATING,
    ENCODER_BLOCK,
    REVERSED,
    SAME,
)
from constyle_arch.checkpoints.renaming import Part, each, to_ours, to_theirs
from constyle_arch.errors import CheckpointError

TRAINING_ONLY = r"ConStyle\.(encoder_k\.|queue)"
"""The momentum encoder and the queue of a release."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """How one release names its tensors.

    Attributes:
        network: the network whose weights they are.
        marker: matches a name that only this release has.
        parts: of the network.
        left_out: matches names of tensors that a network for inference does not hold.
        numbered_output: the release counts the output convolution as one more refinement block.
        single_blocks: the release has one block a stage, and no number for it.
    """

    network: str
    marker: str
    parts: list[Part]
    left_out: str = TRAINING_ONLY
    numbered_output: bool = False
    single_blocks: bool = False

    def all_parts(self, num_refinement_blocks: int) -> list[Part]:
        """The parts of a network with so many refinement blocks."""
        if not self.numbered_output:
            return self.parts
        output = Part(f"Finetune_Module.{num_refinement_blocks}.", "output.")
        return [output, Part("Finetune_Module.", "refine."), *self.parts]


DOWN = {1: 0, 2: 1, 3: 2}
UP = {3: 0, 2: 1, 1: 2}
"""The numbers of the levels, theirs and ours: theirs count from full resolution on both ways."""

ENCODER = [
    *(
        part
        for stage in range(4)
        for part in each(f"stage{stage + 1}.{{}}.0.", f"stages.{stage}.{{}}.", {0: 0, 1: 2, 2: 4})
    ),
    *each("mlp{}.", "projections.{}.", {1: 0, 2: 1}),
]

GUIDES = [
    Part("ConStyle.encoder_q.", "encoder.", ENCODER),
    *each("AffineTransform{}.", "project_features.{}.", SAME),
    Part("mlp.0.", "project_code."),
    *each("DC{}.down.0.", "downsample.{}.reduce.", DOWN),
    Part("local_fusion.", "fuse."),
    *each("UC{}.up.0.", "upsample.{}.expand.", UP),
    *each("UC{}.down.", "upsample.{}.join.", UP),
]
"""The encoder, where it enters a network, and what changes the resolution."""

STAGES = [
    *each("Process_Module_l{}.", "down.{}.", DOWN),
    Part("Process_Module_bottom.", "bottleneck."),
    *each("Process_Module_r{}.", "up.{}.", UP),
]

CONVOLUTIONS = [
    Part("Preprocess_Module.", "preprocess."),
    Part("Finetune_Module.0.", "refine."),
    Part("Finetune_Module.1.", "output."),
]
"""Of the networks of plain convolutions."""

LEFT_OUT = "left_out/"
"""Prefix under which a converted file keeps what a network for inference does not hold."""

NAMED_AS_RELEASED = ("Restormer", "NAFNet")
"""Networks whose names are their releases' own."""


def _unet(network: str, marker: str, preprocess: str) -> Release:
    """A release whose parts all but its first are named as the others'."""
    parts = [*GUIDES, *STAGES, Part(preprocess, "preprocess.")]
    return Release(network=network, marker=marker, parts=parts, numbered_output=True)


RELEASES = (
    Release(
        network="Prompter",
        marker=r"encoder_q\.classifier\.",
        left_out=r"encoder_k\.|queue",
        parts=[Part("encoder_q.", "", ENCODER)],
    ),
    Release(
        network="ConStyleMaxim",
        marker=r"stage_input_conv_0\.",
        left_out=TRAINING_ONLY + r"|Process_Module_\w\d\..*cross_gating_block\.",
        numbered_output=True,
        parts=[
            *each("stage_input_conv_{}.", "preprocess.{}.", SAME),
            *each("Process_Module_l{}.", "down.{}.", DOWN, ENCODER_BLOCK),
            Part("Process_Module_bottom.", "bottleneck.", BOTTLENECK_BLOCK),
            *each("Process_Module_r{}.UNetEncoderBlock_0.", "up.{}.", UP, ENCODER_BLOCK),
            *maxim_names.resizing(0, ""),
            *each("cross_gating_block_{}.", "cross_gating.{}.", REVERSED, CROSS_GATING),
            *GUIDES,
        ],
    ),
    _unet("ConStyleKBNet", r"Process_Module_.*\.attgamma$", "Preprocess_Module.0."),
    Release(
        network="ConStyleUformer",
        marker=r"Process_Module_.*\.to_kv\.weight$",
        parts=[
            *(Part(f"{stage.theirs}blocks.", stage.ours) for stage in STAGES),
            Part("local_fusion.fusion.", "fuse."),
            Part("Preprocess_Module.proj.", "preprocess."),
            Part("Finetune_Module.proj.0.", "output."),
            *GUIDES,
        ],
    ),
    _unet("ConStyleRestormer", r"Preprocess_Module\.proj\.", "Preprocess_Module.proj."),
    Release(
        network="OriginConv",
        marker=r"down1\.0\.",
        parts=[
            *STAGES,
            *each("down{}.0.", "downsample.{}.", DOWN),
            *each("up{}.0.", "upsample.{}.", UP),
            *CONVOLUTIONS,
        ],
    ),
    Release(
        network="ConStyleConv",
        marker=r"Preprocess_Module\.1\.",
        single_blocks=True,
        parts=[
            *(Part(stage.theirs, f"{stage.ours}0.") for stage in STAGES),
            *CONVOLUTIONS,
            *GUIDES,
        ],
    ),
    _unet("ConStyleNAFNet", r"Preprocess_Module\.0\.", "Preprocess_Module.0."),
    Release(
        network="MultiStageMaxim",
        marker=r"stage_1_input_conv_0\.",
        parts=[
            part
            for stage in range(3)
            for part in (
                *maxim_names.resizing(stage, f"stages.{stage}."),
                *(
                    Part(f"stage_{stage}_{head.theirs}", f"heads.{stage}.{head.ours}")
                    for head in maxim_names.HEADS
                ),
                Part(f"stage_{stage}_", f"stages.{stage}.", maxim_names.STAGE),
            )
        ],
    ),
    Release(
        network="Maxim",
        marker=r"stage_0_input_conv_0\.",
        left_out=r"stage_0_(en|de)coder_block_.*cross_gating_block\.|stage_0_decoder_block_\d\.UNetEncoderBlock_0\.Conv_1\.",
        parts=[
            *maxim_names.resizing(0, ""),
            Part("stage_0_output_conv_0.", "output."),
            Part("stage_0_", "", maxim_names.STAGE),
        ],
    ),
)


def is_published(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the names are a release's and not this project's."""
    return _release(state_dict) is not None


def from_published(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' or MAXIM's tensors under this project's names, in the same order.

    What only training needs is left out, so that the network of this package loads them strictly.

    Raises:
        CheckpointError: the names are of none of these releases.
    """
    release = _release(state_dict)
    if release is None:
        raise CheckpointError(
            f"No release is known that names a tensor {next(iter(state_dict), None)!r}."
        )
    matches = (re.match(r"Finetune_Module\.(\d+)\.", name) for name in state_dict)
    parts = release.all_parts(max((int(match[1]) for match in matches if match), default=0))
    return {
        to_ours(name, parts): tensor
        for name, tensor in state_dict.items()
        if not re.match(release.left_out, name)
    }


def left_out_of(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `from_published` leaves out, under its published names: training's, and unused."""
    release = _release(state_dict)
    if release is None:
        return {}
    return {name: tensor for name, tensor in state_dict.items() if re.match(release.left_out, name)}


def to_published(state_dict: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """The tensors of a network under its published names; the inverse of `from_published`.

    Raises:
        CheckpointError: no release has this network, or none with so many blocks.
    """
    if network in NAMED_AS_RELEASED:
        return dict(state_dict)
    release = next((release for release in RELEASES if release.network == network), None)
    if release is None:
        raise CheckpointError(f"There are no published names for the network {network}.")
    if release.single_blocks and any(
        re.match(r"(down\.\d|bottleneck|up\.\d)\.[1-9]", name) for name in state_dict
    ):
        raise CheckpointError(
            f"The release of {network} has one block a stage and no names for more."
        )
    blocks = {match[1] for name in state_dict if (match := re.match(r"refine\.(\d+)\.", name))}
    parts = release.all_parts(len(blocks))
    return {to_theirs(name, parts): tensor for name, tensor in state_dict.items()}


def contrast_from_published(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Momentum encoder and queue among published weights, as a `MomentumContrast`'s state.

    These are `encoder.…`, `queue` and `pointer`; nothing where the release was stripped of them.
    """
    renamed = {
        to_ours(name, [Part("ConStyle.encoder_k.", "encoder.", ENCODER)]): tensor
        for name, tensor in state_dict.items()
        if name.startswith("ConStyle.encoder_k.")
    }
    if "ConStyle.queue" in state_dict:
        renamed["queue"] = state_dict["ConStyle.queue"]
        renamed["pointer"] = state_dict["ConStyle.queue_ptr"].reshape(())
    return renamed


def _release(state_dict: Mapping[str, Tensor]) -> Release | None:
    for release in RELEASES:
        if any(re.match(release.marker, name) for name in state_dict):
            return release
    return None
