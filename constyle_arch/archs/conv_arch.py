"""ConStyle-Conv: the general restoration network with plain convolutions (ConStyle v2, arXiv 2406.18242)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import SLOPE
from constyle_arch.archs.general_restoration_arch import GeneralRestorationNetwork, leaky_relu
from constyle_arch.archs.layers import make_channels_last

ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {"prelu": nn.PReLU, "leaky_relu": leaky_relu}


BRANCH_SCALE = 0.1
"""Of what a new block and the new network add to their input."""


def conv_act(in_channels: int, out_channels: int, activation: str) -> nn.Sequential:
    """A 3×3 convolution without bias and its activation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), ACTIVATIONS[activation](out_channels)
    )


class ConvBlock(nn.Sequential):
    """Two convolutions with their activations, and a residual.

    Args:
        channels: of the input and the output.
        activation: `prelu` or `leaky_relu`.
    """

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__(conv_act(channels, channels, activation), conv_act(channels, channels, activation))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        return x + super().forward(x)


@ARCH_REGISTRY.register()
class ConStyleConv(GeneralRestorationNetwork):
    """ConStyle-Conv: the general restoration network with plain convolutions (6.782 M parameters).

    Of all networks here it trains fastest, by far where the processor multiplies matrices in bfloat16.

    Source: the release of ConStyle v2 (arXiv 2406.18242); the defaults are its, but for more blocks than one a stage.

    Args:
        activation: `prelu`, the release's, after every convolution, the last one included; or `leaky_relu`, of slope
            0.1, after all but the last, which is two to three times as fast to train in bfloat16 on a CPU.
        num_blocks_down: blocks of the three stages on the way down, fine to coarse.
        num_blocks_bottleneck: blocks at 1/8 of the resolution.
        num_blocks_up: blocks of the three stages on the way up, coarse to fine.
        **options: `GeneralRestorationNetwork`'s: dim, use_features, use_code.

    Raises:
        ValueError: an argument does not fit; the message names it, its value and the wanted one.
    """

    def __init__(
        self,
        *,
        activation: str = "prelu",
        num_blocks_down: Sequence[int] = (1, 1, 1),
        num_blocks_bottleneck: int = 1,
        num_blocks_up: Sequence[int] = (1, 1, 1),
        **options: Any,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; it must be {' or '.join(ACTIVATIONS)}.")
        super().__init__(
            lambda channels, level: ConvBlock(channels, activation),
            num_blocks_down=num_blocks_down,
            num_blocks_bottleneck=num_blocks_bottleneck,
            num_blocks_up=num_blocks_up,
            feature_activation=ACTIVATIONS[activation],
            **options,
        )
        dim = self.preprocess.out_channels
        self.preprocess = conv_act(3, dim, activation)
        self.refine = conv_act(2 * dim, dim, activation)
        self.output = conv_act(dim, 3, activation)
        if activation != "prelu":
            self.output = self.output[0]
        self._initialize()
        make_channels_last(self)

    def _initialize(self) -> None:
        """Keep the size of features and gradients through the layers, which nothing normalises (arXiv 1502.01852).

        With PyTorch's default initialization gradients start below the epsilon of Adam, and a training below life.
        """
        activated = {module[0] for module in self.modules() if _is_conv_act(module)}
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("encoder."):
                nn.init.kaiming_normal_(module.weight, SLOPE if module in activated else 1)
        with torch.no_grad():
            for block in self.modules():
                if isinstance(block, ConvBlock):
                    block[1][0].weight *= BRANCH_SCALE
            for convolution in self.output.modules():
                if isinstance(convolution, nn.Conv2d):
                    convolution.weight *= BRANCH_SCALE


def _is_conv_act(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[0], nn.Conv2d)
