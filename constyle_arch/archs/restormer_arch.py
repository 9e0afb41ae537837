"""Restormer and its operator (CVPR 2022, arXiv 2111.09881), and ConStyle-Restormer."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from constyle_arch.archs import fused
from constyle_arch.archs.fused import Fusible, fusible
from constyle_arch.archs.general_restoration_arch import (
    OPERATOR_REGISTRY,
    GeneralRestorationNetwork,
)
from constyle_arch.archs.layers import (
    LayerNorm2d,
    RestorationNetwork,
    Stage,
    TakesStatistics,
    check_choice,
    check_dim,
    check_heads,
    make_channels_last,
)
from constyle_arch.registry import ARCH_REGISTRY
from constyle_arch.tiles import tiles_of

LAYER_NORM_EPS = 1e-5


class BiasFreeLayerNorm2d(nn.Module):
    """Divides each pixel of (N, C, H, W) by its channels' standard deviation; the mean stays."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of `x` over its channels."""
        variance = x.var(dim=1, keepdim=True, unbiased=False)
        return x * torch.rsqrt(variance + LAYER_NORM_EPS) * self.weight[:, None, None]


def named(name: str, *modules: nn.Module) -> nn.Sequential:
    """`modules` in turn, under one more name: checkpoints of the release have it."""
    module = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
    return nn.Sequential(OrderedDict({name: module}))


def layer_norm(kind: str, channels: int) -> nn.Sequential:
    """The layer norm called `WithBias` or `BiasFree` in Restormer's options."""
    check_choice("layer_norm_type", kind, ("WithBias", "BiasFree"))
    if kind == "BiasFree":
        return named("body", BiasFreeLayerNorm2d(channels))
    return named("body", LayerNorm2d(channels, eps=LAYER_NORM_EPS))


class TransposedAttention(Fusible, TakesStatistics):
    """MDTA: self-attention between channels instead of pixels (Restormer, section 3.1).

    With `window` it is computed for windows, which overlap by half and are blended linearly.
    """

    def __init__(self, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        all_three = 3 * channels
        self.qkv_dwconv = nn.Conv2d(all_three, all_three, 3, padding=1, groups=all_three, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Attention between the channels of `x` (N, C, H, W)."""
        qkv = self.qkv_dwconv(self.qkv(x))
        if self.window is None or not self.is_local(x):
            return self.attend(qkv)
        out = torch.zeros_like(x)
        overlap = self.window // 2
        rows, columns = (tiles_of(length, self.window, overlap, 1) for length in x.shape[2:])
        for row, column in product(rows, columns):
            weights = row.weights[:, None] * column.weights
            part = self.attend(qkv[..., row.pixels, column.pixels])
            out[..., row.pixels, column.pixels] += part * weights.to(part)
        return out

    @fusible(fused.transposed_attention, project_out=nn.Conv2d)
    def attend(self, qkv: Tensor) -> Tensor:
        """softmax(q̂ k̂ᵀ · temperature) v, projected, of the thirds of (N, 3·C, H, W) (eq. 1)."""
        height, width = qkv.shape[2:]
        q, k, v = qkv.chunk(3, dim=1)
        pattern = "n (head c) y x -> n head c (y x)"
        q, k, v = (rearrange(part, pattern, head=self.heads) for part in (q, k, v))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attention = (q @ k.mT * self.temperature).softmax(dim=-1)
        pattern = "n head c (y x) -> n (head c) y x"
        return self.project_out(rearrange(attention @ v, pattern, y=height, x=width))


class GatedFeedForward(Fusible):
    """GDFN: a convolutional feed-forward layer whose one half gates the other (section 3.2)."""

    def __init__(self, channels: int, expansion_factor: float, bias: bool) -> None:
        super().__init__()
        hidden = int(expansion_factor * channels)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    @fusible(
        fused.gated_feed_forward, project_in=nn.Conv2d, dwconv=nn.Conv2d, project_out=nn.Conv2d
    )
    def forward(self, x: Tensor) -> Tensor:
        """GELU(a) ⊙ b, projected, of the halves a, b of the convolved `x` (N, C, H, W) (eq. 2)."""
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


@OPERATOR_REGISTRY.register()
class TransformerBlock(nn.Module):
    """Restormer's operator: attention and feed-forward, each after a norm and in a residual.

    Args:
        channels: of the input and the output.
        heads: attention heads; they divide `channels`.
        bias: whether the convolutions have biases.
        ffn_expansion_factor, layer_norm_type: see `Restormer`.

    Raises:
        ValueError: `heads` do not divide `channels`, or the layer norm is unknown.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 1,
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        layer_norm_type: str = "WithBias",
    ) -> None:
        super().__init__()
        check_heads(heads, channels)
        self.norm1 = layer_norm(layer_norm_type, channels)
        self.attn = TransposedAttention(channels, heads, bias)
        self.norm2 = layer_norm(layer_norm_type, channels)
        self.ffn = GatedFeedForward(channels, ffn_expansion_factor, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


@ARCH_REGISTRY.register()
class ConStyleRestormer(GeneralRestorationNetwork):
    """ConStyle-Restormer: Restormer's operator, guided by ConStyle (15.575 M parameters).

    Source: arXiv 2402.15784, section 4; the defaults are the paper's.

    Args:
        dim, num_blocks_down, num_blocks_bottleneck, num_blocks_up, num_refinement_blocks: see
            `GeneralRestorationNetwork`.
        heads: attention heads on each level, from full resolution to the bottleneck.
        bias: whether the operator's convolutions, that which fuses the code, and the last one have
            biases.
        ffn_expansion_factor, layer_norm_type: see `Restormer`.
        use_features, use_code, encoder_initialization: see `GuidedNetwork`.
    """

    def __init__(
        self,
        *,
        dim: int = 48,
        num_blocks_down: Sequence[int] = (4, 6, 6),
        num_blocks_bottleneck: int = 8,
        num_blocks_up: Sequence[int] = (6, 6, 4),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        layer_norm_type: str = "WithBias",
        use_features: bool = True,
        use_code: bool = True,
        encoder_initialization: str = "he",
    ) -> None:
        super().__init__(
            "TransformerBlock",
            operator_options={
                "heads": list(heads),
                "ffn_expansion_factor": ffn_expansion_factor,
                "bias": bias,
                "layer_norm_type": layer_norm_type,
            },
            dim=dim,
            num_blocks_down=num_blocks_down,
            num_blocks_bottleneck=num_blocks_bottleneck,
            num_blocks_up=num_blocks_up,
            num_refinement_blocks=num_refinement_blocks,
            bias=bias,
            fuse_bias=bias,
            feature_activation="prelu",
            use_features=use_features,
            use_code=use_code,
            encoder_initialization=encoder_initialization,
        )


@ARCH_REGISTRY.register()
class Restormer(RestorationNetwork):
    """Restormer, the original ConStyle-Restormer is compared with (26.127 M parameters by default).

    Source: arXiv 2111.09881, section 3; the defaults and the tensors' names are its own.

    Args:
        dim: channels at full resolution; a multiple of 4.
        num_blocks: blocks of the four levels, on the way down and (without the last) up.
        num_refinement_blocks: blocks after the last level.
        heads: attention heads on each level.
        ffn_expansion_factor: hidden channels of the feed-forward layer, as a multiple of its
            channels.
        bias: whether convolutions have biases, the first and those that change the resolution
            aside.
        layer_norm_type: `WithBias` or `BiasFree` (as for Gaussian denoising).
        inp_channels: of the input: 3, or 1 for gray images.
        out_channels: of the result; the same but for `dual_pixel_task`.
        dual_pixel_task: whether the input is both views of a dual-pixel sensor, `inp_channels` 6,
            and the result is not added to it.

    Raises:
        ValueError: an argument does not fit; the message names it, its value and the wanted one.
    """

    multiple = 8

    def __init__(
        self,
        *,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        layer_norm_type: str = "WithBias",
        inp_channels: int = 3,
        out_channels: int = 3,
        dual_pixel_task: bool = False,
    ) -> None:
        super().__init__()
        if inp_channels != out_channels and not dual_pixel_task:
            raise ValueError(
                f"inp_channels is {inp_channels} and out_channels {out_channels}; they must be "
                "equal, as the result is added to the input, unless dual_pixel_task is true."
            )
        self.in_channels, self.out_channels = inp_channels, out_channels
        for option, numbers in (("num_blocks", num_blocks), ("heads", heads)):
            if len(numbers) != 4:
                raise ValueError(f"{option} is {list(numbers)}; it must list four levels.")
        check_dim(dim)

        def stage(channels: int, level: int, blocks: int) -> Stage:
            options = heads[level], ffn_expansion_factor, bias, layer_norm_type
            return Stage(*(TransformerBlock(channels, *options) for _ in range(blocks)))

        def down(width: int) -> nn.Sequential:
            convolution = nn.Conv2d(width, width // 2, 3, padding=1, bias=False)
            return named("body", convolution, nn.PixelUnshuffle(2))

        def up(width: int) -> nn.Sequential:
            convolution = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
            return named("body", convolution, nn.PixelShuffle(2))

        self.patch_embed = named("proj", nn.Conv2d(inp_channels, dim, 3, padding=1, bias=False))
        self.encoder_level1 = stage(dim, 0, num_blocks[0])
        self.encoder_level2 = stage(2 * dim, 1, num_blocks[1])
        self.encoder_level3 = stage(4 * dim, 2, num_blocks[2])
        self.down1_2, self.down2_3, self.down3_4 = down(dim), down(2 * dim), down(4 * dim)
        self.latent = stage(8 * dim, 3, num_blocks[3])
        self.up4_3, self.up3_2, self.up2_1 = up(8 * dim), up(4 * dim), up(2 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level3 = stage(4 * dim, 2, num_blocks[2])
        self.decoder_level2 = stage(2 * dim, 1, num_blocks[1])
        # at full resolution the skip is appended without a reduction, and the width stays 2·dim
        self.decoder_level1 = stage(2 * dim, 0, num_blocks[0])
        self.refinement = stage(2 * dim, 0, num_refinement_blocks)
        self.skip_conv = nn.Conv2d(dim, 2 * dim, 1, bias=bias) if dual_pixel_task else None
        self.output = nn.Conv2d(2 * dim, out_channels, 3, padding=1, bias=bias)
        make_channels_last(self)

    def restored(self, lq: Tensor, image: Tensor, *conditions: Any) -> Tensor:
        """The clean version of `lq`, of which `image` is the padded one."""
        if self.skip_conv is None:
            return super().restored(lq, image, *conditions)
        return self.restore(image)[..., : lq.shape[2], : lq.shape[3]]

    def restore(self, image: Tensor) -> Tensor:
        """The residual (N, out_channels, H, W) that makes `image` clean; 8 divides H and W.

        With `dual_pixel_task` it is the clean image itself.
        """
        embedded = self.patch_embed(image)
        fine = self.encoder_level1(embedded)
        half = self.encoder_level2(self.down1_2(fine))
        quarter = self.encoder_level3(self.down2_3(half))
        x = self.latent(self.down3_4(quarter))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), quarter], dim=1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), half], dim=1)))
        x = self.decoder_level1(torch.cat([self.up2_1(x), fine], dim=1))
        x = self.refinement(x)
        return self.output(x if self.skip_conv is None else x + self.skip_conv(embedded))
