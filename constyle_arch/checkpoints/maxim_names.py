"""What the parts of MAXIM are called in its releases, Google's and that of ConStyle-MAXIM."""

from itertools import product

from constyle_arch.checkpoints.renaming import Part, each

SAME = {0: 0, 1: 1, 2: 2}
REVERSED = {0: 2, 1: 1, 2: 0}

NORM = [Part("gamma", "weight"), Part("beta", "bias")]
ATTENTION = [
    Part("channel_attention.Conv_0.", "attention.squeeze."),
    Part("channel_attention.Conv_1.", "attention.excite."),
]


def gated_mlp(axis: str) -> list[Part]:
    """`GatedMLP` over the tokens of an axis, `Grid` or `Block`."""
    return [
        Part("LayerNorm.", "norm.", NORM),
        Part("in_project.", "expand."),
        Part(f"{axis}GatingUnit.intermediate_layernorm.", "gate.norm.", NORM),
        Part(f"{axis}GatingUnit.Dense_0.", "gate.mix."),
        Part("out_project.", "reduce."),
    ]


MULTI_AXIS = [
    Part("LayerNorm_in.", "norm.", NORM),
    Part("in_project.", "expand."),
    Part("GridGmlpLayer.", "grid.", gated_mlp("Grid")),
    Part("BlockGmlpLayer.", "block.", gated_mlp("Block")),
    Part("out_project.", "reduce."),
]
BODY = each("SplitHeadMultiAxisGmlpLayer_{}.", "body.{}.", {0: 0, 1: 2}, MULTI_AXIS)
CONV_ATTENTION = [Part("LayerNorm.", "norm.", NORM), *ATTENTION]
ENCODER_BLOCK = [
    Part("Conv_0.", "project."),
    *BODY,
    *each("channel_attention_block_1{}.", "body.{}.", {0: 1, 1: 3}, CONV_ATTENTION),
]
DENSE_ATTENTION = [*CONV_ATTENTION, *each("channel_mixing.Dense_{}.", "dense{}.", {0: 1, 1: 2})]
BOTTLENECK_BLOCK = [
    Part("input_proj.", "project."),
    *BODY,
    *each("channel_attention_block_1_{}.", "body.{}.", {0: 1, 1: 3}, DENSE_ATTENTION),
]

GATING_WEIGHTS = [
    Part("LayerNorm_in.", "norm.", NORM),
    Part("in_project.", "expand."),
    Part("Dense_0.", "grid."),
    Part("Dense_1.", "block."),
    Part("out_project.", "reduce."),
]
CROSS_GATING = [
    Part("ConvTranspose_0.", "upsample."),
    Part("Conv_0.", "project_x."),
    Part("Conv_1.", "project_y."),
    *(
        part
        for side in "xy"
        for part in (
            Part(f"LayerNorm_{side}.", f"norm_{side}.", NORM),
            Part(f"in_project_{side}.", f"expand_{side}."),
            Part(f"SplitHeadMultiAxisGating_{side}.", f"weights_{side}.", GATING_WEIGHTS),
            Part(f"out_project_{side}.", f"reduce_{side}."),
        )
    ),
]

STAGE = [
    *each("input_conv_{}.", "preprocess.{}.", SAME),
    *each("input_fuse_sam_{}.", "recall_attended.{}.", SAME, CROSS_GATING),
    *each("encoder_block_{}.cross_gating_block.", "recall_features.{}.", SAME, CROSS_GATING),
    *each("encoder_block_{}.Conv_1.", "downsample.{}.", SAME),
    *each("encoder_block_{}.", "down.{}.", SAME, ENCODER_BLOCK),
    Part("global_block_", "bottleneck.", BOTTLENECK_BLOCK),
    *each("decoder_block_{}.ConvTranspose_0.", "upsample.{}.", REVERSED),
    *each("decoder_block_{}.UNetEncoderBlock_0.", "up.{}.", REVERSED, ENCODER_BLOCK),
    *each("cross_gating_block_{}.", "cross_gating.{}.", REVERSED, CROSS_GATING),
]
"""`MaximStage`, without the convolutions that follow a resizing."""


def resizing(stage: int, own: str) -> list[Part]:
    """The convolutions that follow a resizing, numbered through all stages: 18 in each."""
    places = product(("signals", "skips"), range(3), range(3))
    return [
        Part(f"UpSampleRatio_{number}.Conv_0.", f"{own}{part}.{level}.{source}.")
        for number, (part, level, source) in enumerate(places, start=18 * stage)
    ]


HEADS = [
    *each("supervised_attention_module_{}.Conv_0.", "{}.project.", SAME),
    *each("supervised_attention_module_{}.Conv_1.", "{}.restore.", SAME),
    *each("supervised_attention_module_{}.Conv_2.", "{}.weigh.", SAME),
    *each("output_conv_{}.", "{}.", SAME),
]
"""What makes images of the features of a stage."""
