"""KBNet's operator (Zhang et al., arXiv 2303.02881) and ConStyle-KBNet (arXiv 2406.18242)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from constyle_arch.archs.general_restoration_arch import (
    OPERATOR_REGISTRY,
    GeneralRestorationNetwork,
)
from constyle_arch.archs.layers import ChannelMeans, LayerNorm2d, gradient_checkpoint
from constyle_arch.registry import ARCH_REGISTRY

LAYER_NORM_EPS = 1e-6
NUM_BASES = 32
GROUP = 4
"""Channels that a kernel of a basis mixes."""
SCALE = 0.01
"""Of what a new block adds."""


def kernel_basis_attention(
    x: Tensor, coefficients: Tensor, kernels: Tensor, biases: Tensor
) -> Tensor:
    """KBA: filter every pixel by its own kernel Σₖ aₖ Wₖ and bias Σₖ aₖ bₖ (KBNet, section 3.2).

    Args:
        x: (N, C, H, W).
        coefficients: aₖ of every pixel, (N, K, H, W).
        kernels: the basis Wₖ, 3×3 and grouped, (1, K, C · GROUP · 9).
        biases: bₖ, (1, K, C).
    """
    height, width = x.shape[2:]
    coefficients = rearrange(coefficients, "n k h w -> n (h w) k")
    pattern = "n p (group out c) -> n p group out c"
    mixed = rearrange(coefficients @ kernels, pattern, out=GROUP, c=9 * GROUP)
    patches = rearrange(F.unfold(x, 3, padding=1), "n (group c) p -> n p group c 1", c=9 * GROUP)
    filtered = rearrange(mixed @ patches, "n p group out 1 -> n p (group out)")
    filtered = filtered + coefficients @ biases
    return rearrange(filtered, "n (h w) c -> n c h w", h=height, w=width)


@OPERATOR_REGISTRY.register()
class KBBlock(nn.Module):
    """KBNet's operator: kernel basis attention times convolutions and channel attention; a gate.

    This is the block of the small KBNet (KBNet, section 3.3).

    Args:
        channels: of the input and the output: a multiple of 4, and above 32 of 32.

    Raises:
        ValueError: `channels` is none.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        gates = min(channels, NUM_BASES)
        if channels < 1 or channels % GROUP or channels % gates:
            raise ValueError(
                f"A KBBlock has {channels} channels; they must be a multiple of {GROUP}, and above "
                f"{NUM_BASES} of {NUM_BASES}. With dim: 32 they are on every level."
            )
        self.w = nn.Parameter(torch.empty(1, NUM_BASES, 9 * GROUP * channels))
        self.b = nn.Parameter(torch.empty(1, NUM_BASES, channels))
        for parameter in (self.w, self.b):
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
        scales = (torch.full((1, channels, 1, 1), SCALE) for _ in range(3))
        self.ga1, self.beta, self.gamma = map(nn.Parameter, scales)
        self.attgamma = nn.Parameter(torch.full((1, NUM_BASES, 1, 1), SCALE))
        self.norm1 = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.norm2 = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.sca = nn.Sequential(ChannelMeans(), nn.Conv2d(channels, channels, 1))
        self.conv11 = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels // GROUP),
        )
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv21 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels, gates, 3, padding=1, groups=gates),
            SimpleGate(),
            nn.Conv2d(gates // 2, NUM_BASES, 1),
        )
        self.conv211 = nn.Conv2d(channels, NUM_BASES, 1)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.gate = SimpleGate()

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W) (figure 2)."""
        y = self.norm1(x)
        coefficients = self.conv2(y) * self.attgamma + self.conv211(y)
        fused = self.conv21(self.conv1(y))
        # the kernels of all pixels are 36 times the size of the features: computed again, not kept
        attended = gradient_checkpoint(kernel_basis_attention, fused, coefficients, self.w, self.b)
        y = (attended * self.ga1 + fused) * self.conv11(y) * self.sca(y)
        x = x + self.conv3(y) * self.beta
        return x + self.conv5(self.gate(self.conv4(self.norm2(x)))) * self.gamma


class SimpleGate(nn.Module):
    """The product of the two halves of the channels (NAFNet, equation 5)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2·C, H, W) to (N, C, H, W)."""
        a, b = x.chunk(2, dim=1)
        return a * b


@ARCH_REGISTRY.register()
class ConStyleKBNet(GeneralRestorationNetwork):
    """ConStyle-KBNet: the general restoration network with KBNet's operator (5.075 M parameters).

    Source: the release of ConStyle v2 (arXiv 2406.18242); the defaults are its.

    Args:
        dim: channels at full resolution: 32, or another number with which every level's suit
            `KBBlock`.
        num_blocks_down, num_blocks_bottleneck, num_blocks_up: see `GeneralRestorationNetwork`.
        use_features, use_code, encoder_initialization: see `GuidedNetwork`.
    """

    def __init__(
        self,
        *,
        dim: int = 32,
        num_blocks_down: Sequence[int] = (2, 2, 2),
        num_blocks_bottleneck: int = 2,
        num_blocks_up: Sequence[int] = (2, 2, 2),
        use_features: bool = True,
        use_code: bool = True,
        encoder_initialization: str = "he",
    ) -> None:
        super().__init__(
            "KBBlock",
            preprocess=lambda dim: nn.Conv2d(3, dim, 3, padding=1),
            dim=dim,
            num_blocks_down=num_blocks_down,
            num_blocks_bottleneck=num_blocks_bottleneck,
            num_blocks_up=num_blocks_up,
            use_features=use_features,
            use_code=use_code,
            encoder_initialization=encoder_initialization,
        )
