"""ConStyle-Conv: plain convolutions guided by ConStyle (ConStyle v2, arXiv 2406.18242)."""

from collections.abc import Sequence

from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import SLOPE
from constyle_arch.archs.general_restoration_arch import (
    ACTIVATIONS,
    OPERATOR_REGISTRY,
    GeneralRestorationNetwork,
)
from constyle_arch.archs.layers import check_choice, initialize_convolutions, make_channels_last
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
        super().__init__(
            conv_act(channels, channels, activation),
            conv_act(channels, channels, activation, BRANCH_SCALE),
        )

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
        num_blocks_down: blocks of the three stages on the way down, fine to coarse.
        num_blocks_bottleneck: blocks at 1/8 of the resolution.
        num_blocks_up: blocks of the three stages on the way up, coarse to fine.
        use_features, use_code, encoder_initialization: see `GuidedNetwork`.

    Raises:
        ValueError: an argument does not fit; the message names it, its value and the wanted one.
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
