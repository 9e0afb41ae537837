"""The tensor names of published weights, and this project's names for the same tensors.

Each release has a list of pairs of templates, published and ours, read both ways and in the same order, so that the
mapping holds for every width and depth. A template that begins with a dot stands anywhere in a name, another one at its
beginning; `$` is the name's end. `{a}` is a number, and `{a-1}` or `{a*-1+3}` what it is called on our side.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

import torch
from torch import Tensor

from constyle_arch.errors import CheckpointError

PLACEHOLDER = re.compile(r"\{(\w)(?:\*(-?\d+))?([+-]\d+)?\}")


@dataclass(frozen=True)
class Pair:
    """A published template and ours."""

    published: str
    own: str

    def to_own(self, name: str) -> str:
        """`name`, published, with its part that fits renamed."""
        return self._pattern(self.published).sub(lambda match: self._filled(match, self.published, self.own), name)

    def to_published(self, name: str) -> str:
        """`name`, ours, with its part that fits renamed."""
        return self._pattern(self.own).sub(lambda match: self._filled(match, self.own, self.published), name)

    @staticmethod
    @cache
    def _pattern(template: str) -> re.Pattern[str]:
        body = template.removesuffix("$")
        parts = PLACEHOLDER.split(body)  # literal, name, factor, offset, literal, …
        pattern = re.escape(parts[0])
        for index in range(1, len(parts), 4):
            pattern += rf"(?P<{parts[index]}>\d+)" + re.escape(parts[index + 3])
        return re.compile(("" if body.startswith(".") else "^") + pattern + ("$" if template.endswith("$") else ""))

    @staticmethod
    def _filled(match: re.Match[str], found: str, wanted: str) -> str:
        numbers = {}
        for name, factor, offset in PLACEHOLDER.findall(found):
            value, remainder = divmod(int(match[name]) - int(offset or 0), int(factor or 1))
            if remainder or value < 0:
                return match[0]  # a number this pair is not about
            numbers[name] = value

        def written(placeholder: re.Match[str]) -> str:
            return str(numbers[placeholder[1]] * int(placeholder[2] or 1) + int(placeholder[3] or 0))

        return PLACEHOLDER.sub(written, wanted.removesuffix("$"))


@dataclass(frozen=True, kw_only=True)
class Publication:
    """How one release names its tensors.

    Attributes:
        network: the network whose weights they are.
        marker: matches a published name that only this release has.
        pairs: of templates.
        left_out: matches published names of tensors that a network for inference does not hold.
        numbered_output: the release counts the output convolution as one more refinement block.
        single_blocks: the release has one block a stage, and no number for it.
        buffers: by which our network is told what the release's code does.
    """

    network: str
    marker: str
    pairs: list[Pair] = field(default_factory=list)
    left_out: str = r"(?!)"
    numbered_output: bool = False
    single_blocks: bool = False
    buffers: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def left_out_pattern(self) -> re.Pattern[str]:
        """`left_out`, compiled."""
        return re.compile(self.left_out)

    def all_pairs(self, num_refinement_blocks: int) -> list[Pair]:
        """The pairs for a network with so many refinement blocks."""
        if not self.numbered_output:
            return self.pairs
        output = Pair(f"Finetune_Module.{num_refinement_blocks}.", "output.")
        return [output, Pair("Finetune_Module.", "refine."), *self.pairs]


def _norms(published: str, own: str) -> list[Pair]:
    return [Pair(f"{published}.gamma$", f"{own}.weight$"), Pair(f"{published}.beta$", f"{own}.bias$")]


_MAXIM_BLOCK_PAIRS = [
    *_norms(".SplitHeadMultiAxisGmlpLayer_{a}.LayerNorm_in", ".body.{a*2}.norm"),
    *_norms(".SplitHeadMultiAxisGating_x.LayerNorm_in", ".weights_x.norm"),
    *_norms(".SplitHeadMultiAxisGating_y.LayerNorm_in", ".weights_y.norm"),
    *_norms(".GridGmlpLayer.GridGatingUnit.intermediate_layernorm", ".grid.gate.norm"),
    *_norms(".BlockGmlpLayer.BlockGatingUnit.intermediate_layernorm", ".block.gate.norm"),
    *_norms(".LayerNorm_x", ".norm_x"),
    *_norms(".LayerNorm_y", ".norm_y"),
    *_norms(".LayerNorm", ".norm"),
    Pair(".SplitHeadMultiAxisGating_x.Dense_0.", ".weights_x.grid."),
    Pair(".SplitHeadMultiAxisGating_x.Dense_1.", ".weights_x.block."),
    Pair(".SplitHeadMultiAxisGating_y.Dense_0.", ".weights_y.grid."),
    Pair(".SplitHeadMultiAxisGating_y.Dense_1.", ".weights_y.block."),
    Pair(".SplitHeadMultiAxisGating_x.", ".weights_x."),
    Pair(".SplitHeadMultiAxisGating_y.", ".weights_y."),
    Pair(".GridGmlpLayer.GridGatingUnit.Dense_0.", ".grid.gate.mix."),
    Pair(".BlockGmlpLayer.BlockGatingUnit.Dense_0.", ".block.gate.mix."),
    Pair(".GridGmlpLayer.", ".grid."),
    Pair(".BlockGmlpLayer.", ".block."),
    Pair(".channel_mixing.Dense_{a}.", ".dense{a+1}."),
    Pair(".channel_attention.Conv_0.", ".attention.squeeze."),
    Pair(".channel_attention.Conv_1.", ".attention.excite."),
    Pair(".SplitHeadMultiAxisGmlpLayer_{a}.", ".body.{a*2}."),
    Pair(".in_project_x.", ".expand_x."),
    Pair(".in_project_y.", ".expand_y."),
    Pair(".in_project.", ".expand."),
    Pair(".out_project_x.", ".reduce_x."),
    Pair(".out_project_y.", ".reduce_y."),
    Pair(".out_project.", ".reduce."),
]


def _cross_gating(published: str, own: str) -> list[Pair]:
    return [
        Pair(f"{published}.ConvTranspose_0.", f"{own}.upsample."),
        Pair(f"{published}.Conv_0.", f"{own}.project_x."),
        Pair(f"{published}.Conv_1.", f"{own}.project_y."),
        Pair(f"{published}.", f"{own}."),
    ]


def _blocks(
    published: str, own: str, project: str = "Conv_0", attention: str = "channel_attention_block_1{b}"
) -> list[Pair]:
    """A stage of MAXIM blocks: their projection and channel attention are called by the stage's kind."""
    return [
        Pair(f"{published}.{project}.", f"{own}.project."),
        Pair(f"{published}.{attention}.", own + ".body.{b*2+1}."),
        Pair(f"{published}.", f"{own}."),
    ]


def _maxim_stage(published: str, own: str) -> list[Pair]:
    """A stage of MAXIM, without the convolutions that follow a resizing."""
    return [
        Pair(f"{published}input_conv_{{a}}.", f"{own}preprocess.{{a}}."),
        *_cross_gating(f"{published}input_fuse_sam_{{a}}", f"{own}recall_attended.{{a}}"),
        *_cross_gating(f"{published}encoder_block_{{a}}.cross_gating_block", f"{own}recall_features.{{a}}"),
        Pair(f"{published}encoder_block_{{a}}.Conv_1.", f"{own}downsample.{{a}}."),
        *_blocks(f"{published}encoder_block_{{a}}", f"{own}down.{{a}}"),
        *_blocks(
            f"{published}global_block_{{a}}", f"{own}bottleneck.{{a}}", "input_proj", "channel_attention_block_1_{b}"
        ),
        Pair(f"{published}decoder_block_{{a}}.ConvTranspose_0.", f"{own}upsample.{{a*-1+2}}."),
        *_blocks(f"{published}decoder_block_{{a}}.UNetEncoderBlock_0", f"{own}up.{{a*-1+2}}"),
        *_cross_gating(f"{published}cross_gating_block_{{a}}", f"{own}cross_gating.{{a*-1+2}}"),
    ]


def _resizing(stage: int, own: str) -> list[Pair]:
    """The convolutions that follow a resizing, which MAXIM counts through all stages: 18 in each."""
    names = [
        f"{own}{part}.{level}.{source}." for part in ("signals", "skips") for level in range(3) for source in range(3)
    ]
    return [Pair(f"UpSampleRatio_{18 * stage + i}.Conv_0.", name) for i, name in enumerate(names)]


_ENCODER_PAIRS = [
    Pair("ConStyle.encoder_q.stage{a}.{b}.0.", "encoder.stages.{a-1}.{b*2}."),
    Pair("ConStyle.encoder_q.mlp{a}.", "encoder.projections.{a-1}."),
]

_GUIDED_PAIRS = [
    *_ENCODER_PAIRS,
    Pair("AffineTransform{a}.", "project_features.{a}."),
    Pair("mlp.0.", "project_code."),
    Pair("DC{a}.down.0.", "downsample.{a-1}.reduce."),
    Pair("local_fusion.", "fuse."),
    Pair("UC{a}.up.0.", "upsample.{a*-1+3}.expand."),
]

_UNET_PAIRS = [
    *_GUIDED_PAIRS,
    Pair("Process_Module_l{a}.", "down.{a-1}."),
    Pair("Process_Module_bottom.", "bottleneck."),
    Pair("UC{a}.down.", "upsample.{a*-1+3}.join."),
    Pair("Process_Module_r{a}.", "up.{a*-1+3}."),
]

_TRAINING_ONLY = r"ConStyle\.(encoder_k\.|queue)"
"""The momentum encoder and the queue."""

LEFT_OUT = "left_out/"
"""Begins the names under which a converted file keeps what a network for inference does not hold."""

PUBLICATIONS = (
    Publication(
        network="Prompter",
        marker=r"encoder_q\.classifier\.",
        left_out=r"encoder_k\.|queue",
        pairs=[
            Pair("encoder_q.stage{a}.{b}.0.", "stages.{a-1}.{b*2}."),
            Pair("encoder_q.mlp{a}.", "projections.{a-1}."),
            Pair("encoder_q.classifier.", "classifier."),
        ],
    ),
    Publication(
        network="ConStyleMaxim",
        marker=r"stage_input_conv_0\.",
        left_out=_TRAINING_ONLY + r"|Process_Module_\w\d\..*cross_gating_block\.",
        numbered_output=True,
        pairs=[
            *_GUIDED_PAIRS,
            Pair("stage_input_conv_{a}.", "preprocess.{a}."),
            *_blocks("Process_Module_l{a}", "down.{a-1}"),
            *_blocks("Process_Module_bottom.{a}", "bottleneck.{a}", "input_proj", "channel_attention_block_1_{b}"),
            *_blocks("Process_Module_r{a}.UNetEncoderBlock_0", "up.{a*-1+3}"),
            *(Pair(f"UpSampleRatio_{i}.Conv_0.", f"signals.{i // 3}.{i % 3}.") for i in range(9)),
            *_cross_gating("cross_gating_block_{a}", "cross_gating.{a*-1+2}"),
            *_MAXIM_BLOCK_PAIRS,
        ],
    ),
    Publication(
        network="ConStyleRestormer",
        marker=r"Preprocess_Module\.proj\.",
        left_out=_TRAINING_ONLY,
        numbered_output=True,
        pairs=[*_UNET_PAIRS, Pair("Preprocess_Module.proj.", "preprocess."), Pair(".norm{a}.body.", ".norm{a}.")],
    ),
    Publication(
        network="OriginConv",
        marker=r"down1\.0\.",
        pairs=[
            Pair("Preprocess_Module.", "preprocess."),
            Pair("Process_Module_l{a}.", "down.{a-1}."),
            Pair("down{a}.0.", "downsample.{a-1}."),
            Pair("Process_Module_bottom.", "bottleneck."),
            Pair("up{a}.0.", "upsample.{a*-1+3}."),
            Pair("Process_Module_r{a}.", "up.{a*-1+3}."),
            Pair("Finetune_Module.0.", "refine."),
            Pair("Finetune_Module.1.", "output."),
        ],
    ),
    Publication(
        network="ConStyleConv",
        marker=r"Preprocess_Module\.1\.",
        left_out=_TRAINING_ONLY,
        single_blocks=True,
        pairs=[
            *_GUIDED_PAIRS,
            Pair("UC{a}.down.", "upsample.{a*-1+3}.join."),
            Pair("Preprocess_Module.", "preprocess."),
            Pair("Process_Module_l{a}.", "down.{a-1}.0."),
            Pair("Process_Module_bottom.", "bottleneck.0."),
            Pair("Process_Module_r{a}.", "up.{a*-1+3}.0."),
            Pair("Finetune_Module.0.", "refine."),
            Pair("Finetune_Module.1.", "output."),
        ],
    ),
    Publication(
        network="ConStyleNAFNet",
        marker=r"Preprocess_Module\.0\.",
        left_out=_TRAINING_ONLY,
        numbered_output=True,
        pairs=[*_UNET_PAIRS, Pair("Preprocess_Module.0.", "preprocess."), Pair(".sca.1.", ".sca.")],
    ),
    Publication(
        network="Restormer",
        marker=r"patch_embed\.proj\.",
        pairs=[
            Pair("patch_embed.proj.", "patch_embed."),
            Pair("encoder_level{a}.", "encoders.{a-1}."),
            *(Pair(f"down{i}_{i + 1}.body.", f"downs.{i - 1}.") for i in (1, 2, 3)),
            *(Pair(f"up{i}_{i - 1}.body.", f"ups.{4 - i}.") for i in (4, 3, 2)),
            Pair("reduce_chan_level{a}.", "reduces.{a*-1+3}."),
            Pair("decoder_level{a}.", "decoders.{a*-1+3}."),
            Pair(".norm{a}.body.", ".norm{a}."),
        ],
    ),
    Publication(
        network="NAFNet",
        marker=r"(encoders|middle_blks|decoders)\..*\.(sca|se)\.1\.",
        pairs=[Pair(".sca.1.", ".sca."), Pair(".se.1.", ".squeeze."), Pair(".se.3.", ".excite.")],
        buffers={"zero_padding": torch.tensor(True)},
    ),
    Publication(
        network="MultiStageMaxim",
        marker=r"stage_1_input_conv_0\.",
        pairs=[
            *_maxim_stage("stage_{s}_", "stages.{s}."),
            *(pair for stage in range(3) for pair in _resizing(stage, f"stages.{stage}.")),
            Pair("stage_{s}_supervised_attention_module_{a}.Conv_0.", "heads.{s}.{a}.project."),
            Pair("stage_{s}_supervised_attention_module_{a}.Conv_1.", "heads.{s}.{a}.restore."),
            Pair("stage_{s}_supervised_attention_module_{a}.Conv_2.", "heads.{s}.{a}.weigh."),
            Pair("stage_{s}_output_conv_{a}.", "heads.{s}.{a}."),
            *_MAXIM_BLOCK_PAIRS,
        ],
    ),
    Publication(
        network="Maxim",
        marker=r"stage_0_input_conv_0\.",
        left_out=r"stage_0_(en|de)coder_block_.*cross_gating_block\.|stage_0_decoder_block_\d\.UNetEncoderBlock_0\.Conv_1\.",
        pairs=[
            *_maxim_stage("stage_0_", ""),
            *_resizing(0, ""),
            Pair("stage_0_output_conv_0.", "output."),
            *_MAXIM_BLOCK_PAIRS,
        ],
    ),
)


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
    numbers = [int(match[1]) for name in state_dict if (match := re.match(r"Finetune_Module\.(\d+)\.", name))]
    pairs = publication.all_pairs(max(numbers, default=0))
    renamed = {
        _renamed(name, [pair.to_own for pair in pairs]): tensor
        for name, tensor in state_dict.items()
        if not publication.left_out_pattern.match(name)
    }
    return {**renamed, **publication.buffers}


def left_out_of(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `from_published` leaves out, under its published names: training's extras, and what nothing calls."""
    publication = _publication(state_dict)
    return {
        name: tensor
        for name, tensor in state_dict.items()
        if publication is not None and publication.left_out_pattern.match(name)
    }


def to_published(state_dict: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """Rename a state dict of this project to the published names; the inverse of `from_published`.

    Args:
        state_dict: tensors under this project's names.
        network: the architecture's name.

    Raises:
        CheckpointError: no release has this network, or none with so many blocks.
    """
    publication = next((publication for publication in PUBLICATIONS if publication.network == network), None)
    if publication is None:
        raise CheckpointError(f"There are no published names for the network {network}.")
    if publication.single_blocks and any(re.match(r"(down\.\d|bottleneck|up\.\d)\.[1-9]", name) for name in state_dict):
        raise CheckpointError(f"The release of {network} has one block a stage and no names for more.")
    blocks = {match[1] for name in state_dict if (match := re.match(r"refine\.(\d+)\.", name))}
    pairs = publication.all_pairs(len(blocks))
    return {
        _renamed(name, [pair.to_published for pair in pairs]): tensor
        for name, tensor in state_dict.items()
        if name not in publication.buffers
    }


def contrast_from_published(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The momentum encoder and the queue among published weights, as the state of a `MomentumContrast`.

    Args:
        state_dict: tensors under the names of the authors' release.

    Returns:
        `encoder.…`, `queue` and `pointer`; nothing where the release was stripped of them.
    """
    renamed = {
        _renamed(name.replace("encoder_k", "encoder_q"), [pair.to_own for pair in _ENCODER_PAIRS]): tensor
        for name, tensor in state_dict.items()
        if name.startswith("ConStyle.encoder_k.")
    }
    if "ConStyle.queue" in state_dict:
        renamed["queue"] = state_dict["ConStyle.queue"]
        renamed["pointer"] = state_dict["ConStyle.queue_ptr"].reshape(())
    return renamed


FOREIGN = {
    r"Process_Module_.*\.attgamma$": "ConStyle-KBNet",
    r".*\.attgamma$": "KBNet",
    r"Process_Module_.*\.to_kv\.weight$": "ConStyle-Uformer",
    r".*\.attn\.qkv\.to_kv\.weight$": "Uformer",
}
"""Names that networks have which look like one of ours and are not."""


def foreign_network(state_dict: Mapping[str, Tensor]) -> str | None:
    """What a network is called that this package does not have, where its names tell; None where they do not."""
    for pattern, network in FOREIGN.items():
        if any(re.match(pattern, name) for name in state_dict):
            return network
    return None


def _publication(state_dict: Mapping[str, Tensor]) -> Publication | None:
    if foreign_network(state_dict) is not None:
        return None
    for publication in PUBLICATIONS:
        if any(re.match(publication.marker, name) for name in state_dict):
            return publication
    return None


def _renamed(name: str, renamings: list[Callable[[str], str]]) -> str:
    for rename in renamings:
        name = rename(name)
    return name
