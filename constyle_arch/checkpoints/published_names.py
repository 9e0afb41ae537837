"""The tensor names of published weights, and this project's names for the same tensors.

The mapping is a list of rules for each publication, so that it holds for every width and depth.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from constyle_arch.errors import CheckpointError

Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""A regular expression and what replaces it, as `re.sub` takes them."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """How one release names its tensors.

    Attributes:
        marker: matches the beginning of a name that only this release has.
        rules: applied to every name, one after the other.
        left_out: matches the tensors that a network for inference does not hold.
    """

    marker: str
    rules: list[Rule]
    left_out: str = r"(?!)"


def _shifted(number: str, offset: int) -> int:
    return int(number) + offset


_MAXIM_BLOCK_RULES: list[Rule] = [
    (r"\.UNetEncoderBlock_0\.", "."),
    (r"\.input_proj\.", ".project."),
    (r"^((?:down|up)\.\d)\.Conv_0\.", r"\1.project."),
    (r"\.SplitHeadMultiAxisGmlpLayer_(\d)\.", lambda m: f".body.{2 * int(m[1])}."),
    (r"\.channel_attention_block_1_?(\d)\.", lambda m: f".body.{2 * int(m[1]) + 1}."),
    (r"\.channel_mixing\.Dense_(\d)\.", lambda m: f".dense{_shifted(m[1], 1)}."),
    (r"\.channel_attention\.Conv_0\.", ".attention.squeeze."),
    (r"\.channel_attention\.Conv_1\.", ".attention.excite."),
    (r"\.(?:Grid|Block)GatingUnit\.Dense_0\.", ".gate.mix."),
    (r"\.(?:Grid|Block)GatingUnit\.intermediate_layernorm\.", ".gate.norm."),
    (r"\.GridGmlpLayer\.", ".grid."),
    (r"\.BlockGmlpLayer\.", ".block."),
    (r"\.ConvTranspose_0\.", ".upsample."),
    (r"^(cross_gating\.\d)\.Conv_0\.", r"\1.project_x."),
    (r"^(cross_gating\.\d)\.Conv_1\.", r"\1.project_y."),
    (r"\.SplitHeadMultiAxisGating_([xy])\.", r".weights_\1."),
    (r"(\.weights_[xy])\.Dense_0\.", r"\1.grid."),
    (r"(\.weights_[xy])\.Dense_1\.", r"\1.block."),
    (r"\.in_project(_[xy])?\.", lambda m: f".expand{m[1] or ''}."),
    (r"\.out_project(_[xy])?\.", lambda m: f".reduce{m[1] or ''}."),
    (r"\.LayerNorm(?:_in)?\.", ".norm."),
    (r"\.LayerNorm_([xy])\.", r".norm_\1."),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
]

_CONSTYLE = Publication(
    marker=r"ConStyle\.encoder_q\.",
    left_out=r"ConStyle\.(encoder_k\.|queue)|Process_Module_\w\d\..*cross_gating_block\.",
    rules=[
        (
            r"^ConStyle\.encoder_q\.stage(\d)\.(\d)\.0\.",
            lambda m: f"encoder.stages.{_shifted(m[1], -1)}.{2 * int(m[2])}.",
        ),
        (r"^ConStyle\.encoder_q\.mlp(\d)\.", lambda m: f"encoder.projections.{_shifted(m[1], -1)}."),
        (r"^AffineTransform(\d)\.", r"project_features.\1."),
        (r"^mlp\.0\.", "project_code."),
        (r"^Preprocess_Module\.(proj|0)\.", "preprocess."),
        (r"^stage_input_conv_(\d)\.", r"preprocess.\1."),
        (r"^Process_Module_l(\d)\.", lambda m: f"down.{_shifted(m[1], -1)}."),
        (r"^DC(\d)\.down\.0\.", lambda m: f"downsample.{_shifted(m[1], -1)}.reduce."),
        (r"^Process_Module_bottom\.", "bottleneck."),
        (r"^local_fusion\.", "fuse."),
        (r"^UpSampleRatio_(\d)\.Conv_0\.", lambda m: f"signals.{int(m[1]) // 3}.{int(m[1]) % 3}."),
        (r"^cross_gating_block_(\d)\.", lambda m: f"cross_gating.{2 - int(m[1])}."),
        (r"^UC(\d)\.up\.0\.", lambda m: f"upsample.{3 - int(m[1])}.expand."),
        (r"^UC(\d)\.down\.", lambda m: f"upsample.{3 - int(m[1])}.join."),
        (r"^Process_Module_r(\d)\.", lambda m: f"up.{3 - int(m[1])}."),
        (r"^Finetune_Module\.\d+\.(weight|bias)$", r"output.\1"),
        (r"^Finetune_Module\.", "refine."),
        (r"\.(norm\d)\.body\.", r".\1."),
        (r"\.sca\.1\.", ".sca."),
    ],
)

_CONSTYLE_MAXIM = Publication(
    marker=r"stage_input_conv_0\.", left_out=_CONSTYLE.left_out, rules=_CONSTYLE.rules + _MAXIM_BLOCK_RULES
)

_RESTORMER = Publication(
    marker=r"patch_embed\.proj\.",
    rules=[
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"^encoder_level(\d)\.", lambda m: f"encoders.{_shifted(m[1], -1)}."),
        (r"^down(\d)_\d\.body\.", lambda m: f"downs.{_shifted(m[1], -1)}."),
        (r"^up(\d)_\d\.body\.", lambda m: f"ups.{4 - int(m[1])}."),
        (r"^reduce_chan_level(\d)\.", lambda m: f"reduces.{3 - int(m[1])}."),
        (r"^decoder_level(\d)\.", lambda m: f"decoders.{3 - int(m[1])}."),
        (r"\.(norm\d)\.body\.", r".\1."),
    ],
)

_NAFNET = Publication(marker=r"(encoders|middle_blks|decoders)\..*\.sca\.1\.", rules=[(r"\.sca\.1\.", ".sca.")])

_MAXIM = Publication(
    marker=r"stage_0_input_conv_0\.",
    left_out=r"stage_0_(en|de)coder_block_.*cross_gating_block\.|stage_0_decoder_block_\d\.UNetEncoderBlock_0\.Conv_1\.",
    rules=[
        (r"^stage_0_input_conv_(\d)\.", r"preprocess.\1."),
        (r"^stage_0_encoder_block_(\d)\.Conv_1\.", r"downsample.\1."),
        (r"^stage_0_encoder_block_(\d)\.", r"down.\1."),
        (r"^stage_0_global_block_(\d)\.", r"bottleneck.\1."),
        (r"^UpSampleRatio_([0-8])\.Conv_0\.", lambda m: f"signals.{int(m[1]) // 3}.{int(m[1]) % 3}."),
        (r"^UpSampleRatio_(\d+)\.Conv_0\.", lambda m: f"skips.{int(m[1]) // 3 - 3}.{int(m[1]) % 3}."),
        (r"^stage_0_cross_gating_block_(\d)\.", lambda m: f"cross_gating.{2 - int(m[1])}."),
        (r"^stage_0_decoder_block_(\d)\.ConvTranspose_0\.", lambda m: f"upsample.{2 - int(m[1])}."),
        (r"^stage_0_decoder_block_(\d)\.", lambda m: f"up.{2 - int(m[1])}."),
        (r"^stage_0_output_conv_0\.", "output."),
        *_MAXIM_BLOCK_RULES,
    ],
)

PUBLICATIONS = (_CONSTYLE_MAXIM, _CONSTYLE, _RESTORMER, _NAFNET, _MAXIM)
"""In the order in which their markers are looked for."""


def is_published(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the names are a release's and not this project's."""
    return _publication(state_dict) is not None


def from_published(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state dict to this project's names, leaving out what inference does not need.

    Args:
        state_dict: tensors under the names of the authors' release, or of Restormer's, NAFNet's or MAXIM's.

    Returns:
        The same tensors, in the same order, under the names that the network of this package loads strictly.

    Raises:
        CheckpointError: the names are of none of these releases.
    """
    publication = _publication(state_dict)
    if publication is None:
        raise CheckpointError(f"No release is known that names a tensor {next(iter(state_dict), None)!r}.")
    return {
        _renamed(name, publication.rules): tensor
        for name, tensor in state_dict.items()
        if not re.match(publication.left_out, name)
    }


def contrast_from_published(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The momentum encoder and the queue among published weights, as the state of a `MomentumContrast`.

    Args:
        state_dict: tensors under the names of the authors' release.

    Returns:
        `encoder.…`, `queue` and `pointer`; nothing where the release was stripped of them.
    """
    renamed = {
        _renamed(name.replace("encoder_k", "encoder_q"), _CONSTYLE.rules): tensor
        for name, tensor in state_dict.items()
        if name.startswith("ConStyle.encoder_k.")
    }
    if "ConStyle.queue" in state_dict:
        renamed["queue"] = state_dict["ConStyle.queue"]
        renamed["pointer"] = state_dict["ConStyle.queue_ptr"].reshape(())
    return renamed


def _publication(state_dict: Mapping[str, Tensor]) -> Publication | None:
    for publication in PUBLICATIONS:
        if any(re.match(publication.marker, name) for name in state_dict):
            return publication
    return None


def _renamed(name: str, rules: list[Rule]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
