"""MAXIM-1S (Tu et al., CVPR 2022, arXiv 2201.02973), and ConStyle-MAXIM (arXiv 2402.15784)."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import Codes
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.archs.layers import RestorationNetwork, check_dim, make_channels_last
from constyle_arch.archs.maxim_blocks import (
    TOKENS_PER_SIDE,
    BottleneckBlock,
    CrossGating,
    EncoderBlock,
    ResizeAndConcat,
    resize_to,
)
from constyle_arch.registry import ARCH_REGISTRY


def scales_of(image: Tensor) -> list[Tensor]:
    """`image` (N, 3, H, W) at scales 1, ½ and ¼, by nearest neighbour."""
    return [image, image[..., 1::2, 1::2], image[..., 2::4, 2::4]]


def gated(
    encoded: Sequence[Tensor], gate: Tensor, signals: nn.ModuleList, cross_gating: nn.ModuleList
) -> list[Tensor]:
    """The encoders' features, coarse to fine, each gated by all of them and the coarser level."""
    skips = []
    for signal, gating, features in zip(signals, cross_gating, reversed(encoded), strict=True):
        skip, gate = gating(signal(encoded, features), gate)
        skips.append(skip)
    return skips


@ARCH_REGISTRY.register()
class ConStyleMaxim(GuidedNetwork):
    """ConStyle-MAXIM, of MAXIM-1S.

    It has 6.573 M parameters: the published 8.102 M less 1.529 M that no forward pass touches.
    Source: arXiv 2402.15784, section 4; the defaults are the paper's.

    Args:
        dim: channels at full resolution; a multiple of 4.
        num_blocks_bottleneck: blocks at 1/8 of the resolution.
        bias: whether convolutions and dense layers have biases, those that MAXIM always gives one
            aside.
        use_features, use_code, encoder_initialization: see `GuidedNetwork`.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """

    multiple = 64

    def __init__(
        self,
        *,
        dim: int = 32,
        num_blocks_bottleneck: int = 2,
        bias: bool = False,
        use_features: bool = True,
        use_code: bool = True,
        encoder_initialization: str = "he",
    ) -> None:
        super().__init__(
            dim,
            use_features=use_features,
            use_code=use_code,
            encoder_initialization=encoder_initialization,
        )
        fine, half, quarter, eighth = TOKENS_PER_SIDE
        convolutions = (nn.Conv2d(3, dim, 3, padding=1, bias=bias) for _ in range(3))
        self.preprocess = nn.ModuleList(convolutions)
        self.down = nn.ModuleList(
            [
                EncoderBlock(2 * dim, dim, fine, bias),
                EncoderBlock(3 * dim, 2 * dim, half, bias),
                EncoderBlock(4 * dim, 3 * dim, quarter, bias),
            ]
        )
        blocks = (BottleneckBlock(4 * dim, eighth, bias) for _ in range(num_blocks_bottleneck))
        self.bottleneck = nn.Sequential(*blocks)
        # from coarse (1/4) to fine, as the way up goes
        self.signals = nn.ModuleList(
            ResizeAndConcat(
                [
                    nn.Identity(),
                    nn.Conv2d(2 * dim, dim, 1, bias=bias),
                    nn.Conv2d(3 * dim, dim, 1, bias=bias),
                ]
            )
            for _ in range(3)
        )
        self.cross_gating = nn.ModuleList(
            [
                CrossGating(3 * dim, 3 * dim, dim, quarter, bias),
                CrossGating(3 * dim, dim, dim, half, bias),
                CrossGating(3 * dim, dim, dim, fine, bias),
            ]
        )
        self.upsample = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    expand=nn.Conv2d(channels, 4 * channels, 3, padding=1, bias=False),
                    shuffle=nn.PixelShuffle(2),
                )
            )
            for channels in (3 * dim, 3 * dim, 2 * dim)
        )
        self.up = nn.ModuleList(
            [
                EncoderBlock(6 * dim, 3 * dim, quarter, bias),
                EncoderBlock(6 * dim, 2 * dim, half, bias),
                EncoderBlock(5 * dim, 2 * dim, fine, bias),
            ]
        )
        self.output = nn.Conv2d(2 * dim, 3, 3, padding=1, bias=bias)
        make_channels_last(self)

    def restore(
        self, image: Tensor, guides: Sequence[Tensor | None], codes: Codes | None
    ) -> Tensor:
        """Down with scales and guides, gate what the encoders gave, and up with that."""
        levels = zip(self.preprocess, scales_of(image), strict=True)
        scales = [conv(scale) for conv, scale in levels]
        x = scales[0]
        encoded = []
        way_down = zip(self.down, scales, self.downsample, guides, strict=True)
        for stage, scale, downsample, guide in way_down:
            x = stage(x, scale)
            encoded.append(x)
            x = downsample(x, guide)
        x = self.fuse_code(self.bottleneck(x), codes)
        skips = gated(encoded, x, self.signals, self.cross_gating)
        for upsample, stage in zip(self.upsample, self.up, strict=True):
            x = upsample(x)
            x = stage(x, torch.cat([resize_to(skip, x) for skip in skips], dim=1))
        return self.output(x)


class StageFeatures(NamedTuple):
    """A stage's features on MAXIM's three levels: (N, C, H, W), at half and at a quarter of it."""

    encoded: list[Tensor]
    decoded: list[Tensor]


class MaximStage(nn.Module):
    """MAXIM's U-Net, without what makes an image of its features (MAXIM, figure 2).

    Args:
        dim, num_blocks_bottleneck, bias: see `Maxim`.
        follows: whether it takes in the features of a stage before.
    """

    def __init__(
        self, *, dim: int, num_blocks_bottleneck: int, bias: bool, follows: bool = False
    ) -> None:
        super().__init__()
        check_dim(dim)
        widths = [dim, 2 * dim, 4 * dim]
        sides = TOKENS_PER_SIDE[:3]
        fine_to_coarse = list(zip(widths, sides, strict=True))
        coarse_to_fine = fine_to_coarse[::-1]

        def to_width(width: int, of: Sequence[int]) -> ResizeAndConcat:
            return ResizeAndConcat(nn.Conv2d(channels, width, 1, bias=bias) for channels in of)

        def recall() -> nn.ModuleList:
            levels = fine_to_coarse if follows else []
            return nn.ModuleList(
                CrossGating(width, None, width, side, bias) for width, side in levels
            )

        self.preprocess = nn.ModuleList(
            nn.Conv2d(3, width, 3, padding=1, bias=bias) for width in widths
        )
        self.recall_attended = recall()
        self.down = nn.ModuleList(
            EncoderBlock(below + width, width, side, bias)
            for below, width, side in zip([dim, *widths[:-1]], widths, sides, strict=True)
        )
        self.recall_features = recall()
        self.downsample = nn.ModuleList(
            nn.Conv2d(width, width, 4, 2, padding=1, bias=bias) for width in widths
        )
        eighth = TOKENS_PER_SIDE[3]
        blocks = (BottleneckBlock(widths[-1], eighth, bias) for _ in range(num_blocks_bottleneck))
        self.bottleneck = nn.Sequential(*blocks)
        self.signals = nn.ModuleList(to_width(width, widths) for width, _ in coarse_to_fine)
        gates = [widths[-1], *reversed(widths[1:])]
        self.cross_gating = nn.ModuleList(
            CrossGating(3 * width, gate, width, side, bias)
            for gate, (width, side) in zip(gates, coarse_to_fine, strict=True)
        )
        self.skips = nn.ModuleList(to_width(width, widths[::-1]) for width, _ in coarse_to_fine)
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(gate, width, 2, stride=2, bias=bias)
            for gate, (width, _) in zip(gates, coarse_to_fine, strict=True)
        )
        self.up = nn.ModuleList(
            EncoderBlock(4 * width, width, side, bias) for width, side in coarse_to_fine
        )

    def features(
        self,
        scales: Sequence[Tensor],
        attended: Sequence[Tensor] = (),
        before: StageFeatures | None = None,
    ) -> StageFeatures:
        """Pass an image down, gate what the encoders say, and pass it up again.

        Args:
            scales: of the image (N, 3, H, W), `scales_of` it; H and W are divisible by 64.
            attended: what the stage before hands on of each level, where the stage follows one.
            before: the features of that stage.
        """
        inputs = [conv(scale) for conv, scale in zip(self.preprocess, scales, strict=True)]
        if before is not None:
            levels = zip(self.recall_attended, inputs, attended, strict=True)
            inputs = [gating(x, y)[0] for gating, x, y in levels]
        x = inputs[0]
        encoded: list[Tensor] = []
        way_down = zip(self.down, inputs, self.downsample, strict=True)
        for level, (stage, scale, downsample) in enumerate(way_down):
            x = stage(x, scale)
            if before is not None:
                x, _ = self.recall_features[level](x, before.encoded[level] + before.decoded[level])
            encoded.append(x)
            x = downsample(x)
        x = self.bottleneck(x)
        skips = gated(encoded, x, self.signals, self.cross_gating)
        decoded: list[Tensor] = []
        for signal, upsample, stage in zip(self.skips, self.upsample, self.up, strict=True):
            x = upsample(x)
            x = stage(x, signal(skips, x))
            decoded.append(x)
        return StageFeatures(encoded, decoded[::-1])


@ARCH_REGISTRY.register()
class Maxim(RestorationNetwork, MaximStage):
    """MAXIM-1S, the original ConStyle-MAXIM is compared with.

    It has the published 8.176 M parameters less those that no forward pass touches (see the
    README's table).
    Source: arXiv 2201.02973, section 3; the defaults are MAXIM-1S's.

    Args:
        dim: channels at full resolution; each level down doubles them; a multiple of 4.
        num_blocks_bottleneck: blocks at 1/8 of the resolution.
        bias: whether convolutions and dense layers have biases, those that always have one aside.

    Raises:
        ValueError: `dim` is not a positive multiple of 4.
    """

    multiple = 64

    def __init__(self, *, dim: int = 32, num_blocks_bottleneck: int = 2, bias: bool = True) -> None:
        super().__init__(dim=dim, num_blocks_bottleneck=num_blocks_bottleneck, bias=bias)
        self.output = nn.Conv2d(dim, 3, 3, padding=1, bias=bias)
        make_channels_last(self)

    def restore(self, image: Tensor) -> Tensor:
        """The residual (N, 3, H, W) that makes `image` clean; 64 divides H and W."""
        return self.output(self.features(scales_of(image)).decoded[0])
