"""NAFNet and its operator (ECCV 2022, arXiv 2204.04676), and ConStyle-NAFNet."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from constyle_arch.archs import fused
from constyle_arch.archs.fused import Fusible, fusible
from constyle_arch.archs.general_restoration_arch import (
    OPERATOR_REGISTRY,
    GeneralRestorationNetwork,
)
from constyle_arch.archs.layers import (
    ChannelMeans,
    LayerNorm2d,
    RestorationNetwork,
    Stage,
    check_choice,
    make_channels_last,
)
from constyle_arch.registry import ARCH_REGISTRY

LAYER_NORM_EPS = 1e-6


@OPERATOR_REGISTRY.register()
class NAFBlock(Fusible):
    """NAFNet's operator: convolutions gated by products, without activations (NAFNet, section 3).

    Both residuals are scaled by factors β and γ that start at 0, so that a new block changes
    nothing.

    Args:
        channels: of the input and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.sca = nn.Sequential(ChannelMeans(), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.norm2 = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    @fusible(
        fused.naf_block,
        conv1=nn.Conv2d,
        conv2=nn.Conv2d,
        conv3=nn.Conv2d,
        conv4=nn.Conv2d,
        conv5=nn.Conv2d,
    )
    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W) (figure 3c)."""
        a, b = self.conv2(self.conv1(self.norm1(x))).chunk(2, dim=1)
        y = a * b
        y = y * self.sca(y)
        x = x + self.conv3(y) * self.beta
        a, b = self.conv4(self.norm2(x)).chunk(2, dim=1)
        return x + self.conv5(a * b) * self.gamma


class BaselineBlock(nn.Module):
    """The block NAFNet's paper starts from: GELU, and squeeze and excitation (section 3.2).

    Args:
        channels: of the input and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.se = nn.Sequential(
            ChannelMeans(),
            nn.Conv2d(channels, channels // 2, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 1),
            nn.Sigmoid(),
        )
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.norm2 = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(2 * channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        y = F.gelu(self.conv2(self.conv1(self.norm1(x))))
        y = y * self.se(y)
        x = x + self.conv3(y) * self.beta
        return x + self.conv5(F.gelu(self.conv4(self.norm2(x)))) * self.gamma


BLOCKS = {"NAF": NAFBlock, "Baseline": BaselineBlock}


@ARCH_REGISTRY.register()
class ConStyleNAFNet(GeneralRestorationNetwork):
    """ConStyle-NAFNet: NAFNet's operator, guided by ConStyle (12.740 M parameters).

    Source: arXiv 2402.15784, section 4; the defaults are the paper's.

    Args:
        dim, num_blocks_down, num_blocks_bottleneck, num_blocks_up, num_refinement_blocks, bias: see
            `GeneralRestorationNetwork`.
        use_features, use_code, encoder_initialization: see `GuidedNetwork`.
    """

    def __init__(
        self,
        *,
        dim: int = 48,
        num_blocks_down: Sequence[int] = (7, 8, 9),
        num_blocks_bottleneck: int = 9,
        num_blocks_up: Sequence[int] = (9, 8, 7),
        num_refinement_blocks: int = 0,
        bias: bool = False,
        use_features: bool = True,
        use_code: bool = True,
        encoder_initialization: str = "he",
    ) -> None:
        super().__init__(
            "NAFBlock",
            dim=dim,
            num_blocks_down=num_blocks_down,
            num_blocks_bottleneck=num_blocks_bottleneck,
            num_blocks_up=num_blocks_up,
            num_refinement_blocks=num_refinement_blocks,
            bias=bias,
            use_features=use_features,
            use_code=use_code,
            encoder_initialization=encoder_initialization,
        )


@ARCH_REGISTRY.register()
class NAFNet(RestorationNetwork):
    """NAFNet, the original ConStyle-NAFNet is compared with (87.404 M parameters by default).

    Source: arXiv 2204.04676, with its release's names of tensors; the defaults are those of the
    comparison in arXiv 2402.15784.

    Args:
        width: channels at full resolution; each stage down doubles them.
        enc_blk_nums: blocks of each stage on the way down, fine to coarse.
        middle_blk_num: blocks of the bottleneck.
        dec_blk_nums: blocks of each stage on the way up, coarse to fine; as many stages as down.
        img_channel: of the images: 3, or 1 for gray ones.
        block: `NAF`, or `Baseline` for the network that NAFNet's paper calls so.

    Raises:
        ValueError: the two lists differ in length, `width` is below 1, or there is no such block.
    """

    zero_padding = True

    def __init__(
        self,
        *,
        width: int = 64,
        enc_blk_nums: Sequence[int] = (5, 6, 7, 7),
        middle_blk_num: int = 7,
        dec_blk_nums: Sequence[int] = (5, 6, 7, 7),
        img_channel: int = 3,
        block: str = "NAF",
    ) -> None:
        super().__init__()
        check_choice("block", block, BLOCKS)
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1.")
        if len(enc_blk_nums) != len(dec_blk_nums):
            raise ValueError(
                f"enc_blk_nums {list(enc_blk_nums)} and dec_blk_nums {list(dec_blk_nums)} must be "
                "of one length."
            )
        self.in_channels = self.out_channels = img_channel

        def stage(channels: int, num_blocks: int) -> Stage:
            return Stage(*(BLOCKS[block](channels) for _ in range(num_blocks)))

        widths = [width * 2**level for level in range(len(enc_blk_nums) + 1)]
        self.multiple = 2 ** len(enc_blk_nums)
        self.intro = nn.Conv2d(img_channel, width, 3, padding=1)
        levels = zip(widths[:-1], enc_blk_nums, strict=True)
        self.encoders = nn.ModuleList(stage(channels, blocks) for channels, blocks in levels)
        halving = (nn.Conv2d(channels, 2 * channels, 2, stride=2) for channels in widths[:-1])
        self.downs = nn.ModuleList(halving)
        self.middle_blks = stage(widths[-1], middle_blk_num)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2))
            for channels in reversed(widths[1:])
        )
        levels = zip(widths[-2::-1], dec_blk_nums, strict=True)
        self.decoders = nn.ModuleList(stage(channels, blocks) for channels, blocks in levels)
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)
        make_channels_last(self)

    def restore(self, image: Tensor) -> Tensor:
        """The residual (N, img_channel, H, W) that turns `image` into the clean one."""
        x = self.intro(image)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        return self.ending(x)
