"""Plain convolutions, guided by ConStyle and not (ConStyle v2, arXiv 2406.18242)."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import SLOPE
from constyle_arch.archs.general_restoration_arch import (
    ACTIVATIONS,
    OPERATOR_REGISTRY,
    GeneralRestorationNetwork,
)
from constyle_arch.archs.layers import (
    RestorationNetwork,
    check_choice,
    check_dim,
    initialize_convolutions,
    make_channels_last,
)
from constyle_arch.registry import ARCH_REGISTRY

BRANCH_SCALE = 0.1
"""Of what a new block and the new network add to their input."""


def conv_act(
    in_channels: int, out_channels: int, activation: str, scale: float = 1
) -> nn.Sequential:
    """A 3×3 convolution without bias, its initial weights times `scale`; and an activation."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, SLOPE)
    convolution.weight.data *= scale
    return nn.Sequential(convolution, ACTIVATIONS[activation](out_channels))


@OPERATOR_REGISTRY.register()
class ConvBlock(nn.Sequential):
    """Two convolutions with their activations, and a residual.

    Args:
        channels: of the input and the output.
        activation: `prelu` or `leaky_relu`.
    """

    def __init__(self, channels: int, activation: str = "prelu") -> None:
        scales = (1, BRANCH_SCALE)
        super().__init__(*(conv_act(channels, channels, activation, scale) for scale in scales))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        first, second = self
        return x + second(first(x))


@ARCH_REGISTRY.register()
class ConStyleConv(GeneralRestorationNetwork):
    """ConStyle-Conv: the general restoration network with plain convolutions (6.782 M parameters).

    It trains faster than the others where the processor multiplies matrices in bfloat16. Nothing in
    it normalises features, so its convolutions start as He et al. (arXiv 1502.01852) have them:
    with PyTorch's default, gradients start below the epsilon of Adam, and nothing is learnt for a
    thousand iterations.

    Source: the release of ConStyle v2 (arXiv 2406.18242); the defaults are its, with one block a
    stage.

    Args:
        dim: channels at full resolution; a multiple of 4.
        activation: `prelu`, the release's, after every convolution, the last one included; or
            `leaky_relu`, of slope 0.1, after all but the last, which is faster to train in bfloat16
            on a CPU.
        num_blocks_down, num_blocks_bottleneck, num_blocks_up: see `GeneralRestorationNetwork`.
        use_features, use_code, encoder_initialization: see `GuidedNetwork`.
    """

    def __init__(
        self,
        *,
        dim: int = 48,
        activation: str = "prelu",
        num_blocks_down: Sequence[int] = (1, 1, 1),
        num_blocks_bottleneck: int = 1,
        num_blocks_up: Sequence[int] = (1, 1, 1),
        use_features: bool = True,
        use_code: bool = True,
        encoder_initialization: str = "he",
    ) -> None:
        check_choice("activation", activation, ACTIVATIONS)
        super().__init__(
            "ConvBlock",
            operator_options={"activation": activation},
            dim=dim,
            num_blocks_down=num_blocks_down,
            num_blocks_bottleneck=num_blocks_bottleneck,
            num_blocks_up=num_blocks_up,
            feature_activation=activation,
            use_features=use_features,
            use_code=use_code,
            encoder_initialization=encoder_initialization,
        )
        initialize_convolutions(self.project_features, SLOPE)
        for part in (self.downsample, self.fuse, self.upsample):
            initialize_convolutions(part)
        self.preprocess = conv_act(3, dim, activation)
        self.refine = conv_act(2 * dim, dim, activation)
        output = conv_act(dim, 3, activation, BRANCH_SCALE)
        self.output = output if activation == "prelu" else output[0]
        make_channels_last(self)


@ARCH_REGISTRY.register()
class OriginConv(RestorationNetwork):
    """What ConStyle v2 compares ConStyle-Conv with: an encoder and a decoder (5.033 M parameters).

    A block a stage, at d, 2d, 4d channels on the way down, 4d at the bottleneck, and 4d, 2d, 2d on
    the way up. No skip joins the two ways: only the input is added at the end.

    Source: the release of ConStyle v2 (arXiv 2406.18242). Convolutions start as `ConStyleConv`'s
    do.

    Args:
        dim: d, channels at full resolution; a multiple of 4.

    Raises:
        ValueError: `dim` is not a positive multiple of 4.
    """

    multiple = 8

    def __init__(self, *, dim: int = 48) -> None:
        super().__init__()
        check_dim(dim)
        down, up = (dim, 2 * dim, 4 * dim, 4 * dim), (4 * dim, 4 * dim, 2 * dim, 2 * dim)
        self.preprocess = conv_act(3, dim, "prelu")
        self.down = nn.ModuleList(ConvBlock(channels, "prelu") for channels in down[:3])
        convolution = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
        halving = (convolution(fine, coarse // 4) for fine, coarse in pairwise(down))
        self.downsample = nn.ModuleList(halving)
        self.bottleneck = ConvBlock(4 * dim, "prelu")
        doubling = (convolution(coarse, 4 * fine) for coarse, fine in pairwise(up))
        self.upsample = nn.ModuleList(doubling)
        self.up = nn.ModuleList(ConvBlock(channels, "prelu") for channels in up[1:])
        self.refine = conv_act(2 * dim, dim, "prelu")
        self.output = conv_act(dim, 3, "prelu", BRANCH_SCALE)
        initialize_convolutions(self.downsample)
        initialize_convolutions(self.upsample)
        make_channels_last(self)

    def restore(self, image: Tensor) -> Tensor:
        """The residual (N, 3, H, W) that makes `image` clean; 8 divides H and W."""
        x = self.preprocess(image)
        for block, downsample in zip(self.down, self.downsample, strict=True):
            x = nn.functional.pixel_unshuffle(downsample(block(x)), 2)
        x = self.bottleneck(x)
        for upsample, block in zip(self.upsample, self.up, strict=True):
            x = block(nn.functional.pixel_shuffle(upsample(x), 2))
        return self.output(self.refine(x))
