"""OriginConv, with which ConStyle v2 compares ConStyle-Conv (arXiv 2406.18242)."""

from itertools import pairwise

from torch import Tensor, nn

from constyle_arch.archs.conv_arch import BRANCH_SCALE, ConvBlock, conv_act
from constyle_arch.archs.layers import (
    RestorationNetwork,
    check_dim,
    initialize_convolutions,
    make_channels_last,
)
from constyle_arch.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class OriginConv(RestorationNetwork):
    """An encoder and a decoder of plain convolutions without ConStyle (5.033 M parameters).

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
        self.downsample = nn.ModuleList(
            nn.Conv2d(fine, coarse // 4, 3, padding=1, bias=False)
            for fine, coarse in pairwise(down)
        )
        self.bottleneck = ConvBlock(4 * dim, "prelu")
        self.upsample = nn.ModuleList(
            nn.Conv2d(coarse, 4 * fine, 3, padding=1, bias=False) for coarse, fine in pairwise(up)
        )
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
