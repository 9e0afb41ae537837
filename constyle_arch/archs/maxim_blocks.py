"""MAXIM's blocks and its operator (Tu et al., CVPR 2022, arXiv 2201.02973).

Everything is (N, C, H, W); only `TokenMixing`, which mixes pixels, rearranges them inside.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from constyle_arch.archs import fused
from constyle_arch.archs.fused import Fusible, fusible
from constyle_arch.archs.general_restoration_arch import OPERATOR_REGISTRY
from constyle_arch.archs.layers import ChannelMeans, Dense, LayerNorm2d, Stage, at_least_float32

LAYER_NORM_EPS = 1e-6
TOKENS_PER_SIDE = (16, 16, 8, 8)
"""Sides of a block in pixels and of the grid in cells, by level, from full resolution to 1/8."""

Axis = Literal["grid", "block"]


class TokenMixing(nn.Linear, Fusible):
    """A linear map over the tokens of each group of pixels and channel (MAXIM, section 3.2).

    Args:
        side: S, the tokens are S×S.
        axis: `grid`, where the tokens of a group are the pixels at one place of all S×S cells of
            the image, or `block`, where they are the pixels of one of its cells of S×S.
        bias: whether a bias is added.
    """

    def __init__(self, side: int, axis: Axis, bias: bool) -> None:
        super().__init__(side * side, side * side, bias)
        self.side, self.axis = side, axis
        cells, pixels = "rows columns", "y x"  # of an image of rows×columns cells of y×x pixels
        self.tokens, self.groups = (cells, pixels) if axis == "grid" else (pixels, cells)

    @fusible(fused.token_mixing)
    def forward(self, x: Tensor) -> Tensor:
        """Mix the pixels of `x` (N, C, H, W), H and W divisible by S."""
        image, tokens = "n c (rows y) (columns x)", f"n ({self.groups}) c ({self.tokens})"
        mixed = super().forward(rearrange(x, f"{image} -> {tokens}", **self.sizes(x)))
        return rearrange(mixed, f"{tokens} -> {image}", **self.sizes(x))

    def sizes(self, x: Tensor) -> dict[str, int]:
        """How many cells `x` has, and how many pixels a cell."""
        side, (rows, columns) = self.side, (length // self.side for length in x.shape[2:])
        if self.axis == "grid":
            return {"rows": side, "columns": side, "y": rows, "x": columns}
        return {"rows": rows, "columns": columns, "y": side, "x": side}


class SpatialGatingUnit(nn.Module):
    """u·(v + 1) of the halves u, v; v is normalised and mixed over tokens (MAXIM, section 3.2)."""

    def __init__(self, channels: int, side: int, axis: Axis) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.mix = TokenMixing(side, axis, bias=True)

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """Gate `u` (N, C, H, W) by `v`, of the same shape."""
        return u * (self.mix(self.norm(v)) + 1)


class GatedMLP(Fusible):
    """gMLP over the tokens of an axis: norm, expand, GELU, spatial gating, reduce, residual."""

    def __init__(self, channels: int, side: int, axis: Axis, bias: bool) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.expand = Dense(channels, 2 * channels, bias=bias)
        self.gate = SpatialGatingUnit(channels, side, axis)
        self.reduce = Dense(channels, channels, bias=bias)
        self.gelu = nn.GELU()

    @fusible(fused.gated_mlp, expand=Dense, gate=SpatialGatingUnit, reduce=Dense)
    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        u, v = self.gelu(self.expand(self.norm(x))).chunk(2, dim=1)
        return x + self.reduce(self.gate(u, v))


class MultiAxisGatedMLP(Fusible):
    """Half of the channels mixed over the grid, half over blocks (MAXIM, section 3.2)."""

    def __init__(self, channels: int, side: int, bias: bool) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.expand = Dense(channels, 2 * channels, bias)
        self.grid = GatedMLP(channels, side, "grid", bias)
        self.block = GatedMLP(channels, side, "block", bias)
        self.reduce = Dense(2 * channels, channels, bias)
        self.gelu = nn.GELU()

    @fusible(fused.multi_axis_gated_mlp, expand=Dense)
    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        u, v = self.gelu(self.expand(self.norm(x))).chunk(2, dim=1)
        return x + self.reduce(torch.cat([self.grid(u), self.block(v)], dim=1))


class ChannelAttention(nn.Module):
    """Squeeze and excitation: each channel weighed by what the whole image says."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.pool = ChannelMeans()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1, bias=bias)
        self.excite = nn.Conv2d(channels // 4, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of `x` (N, C, H, W)."""
        return x * self.excite(F.relu(self.squeeze(self.pool(x)))).sigmoid()


class ResidualConvAttention(nn.Module):
    """RCAB: two 3×3 convolutions and channel attention inside a residual."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.attention = ChannelAttention(channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        y = F.leaky_relu(self.conv1(self.norm(x)), 0.2, inplace=True)
        return x + self.attention(self.conv2(y))


class ResidualDenseAttention(Fusible):
    """RDCAB: two pointwise maps and channel attention inside a residual."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.dense1 = Dense(channels, channels, bias)
        self.dense2 = Dense(channels, channels, bias)
        self.attention = ChannelAttention(channels, bias)
        self.gelu = nn.GELU()

    @fusible(fused.residual_dense_attention, dense2=Dense)
    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        return x + self.attention(self.dense2(self.gelu(self.dense1(self.norm(x)))))


class EncoderBlock(nn.Module):
    """Mixes `x` and `skip`, then twice multi-axis gMLP and RCAB in a residual; down and up."""

    def __init__(self, in_channels: int, channels: int, side: int, bias: bool) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, channels, 1, bias=bias)
        self.body = Stage(
            MultiAxisGatedMLP(channels, side, bias),
            ResidualConvAttention(channels, bias),
            MultiAxisGatedMLP(channels, side, bias),
            ResidualConvAttention(channels, bias),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, A, H, W) and (N, in_channels − A, H, W) to (N, channels, H, W)."""
        x = self.project(torch.cat([x, skip], dim=1))
        return x + self.body(x)


@OPERATOR_REGISTRY.register()
class MaximBlock(nn.Sequential):
    """MAXIM's operator: a multi-axis gMLP, then RCAB, each inside a residual.

    Args:
        channels: of the input and the output; a multiple of 4.
        side: see `TOKENS_PER_SIDE`.
        bias: whether convolutions and dense layers have biases, those that MAXIM always gives one
            aside.
    """

    def __init__(self, channels: int, side: int = 8, bias: bool = False) -> None:
        gmlp, rcab = MultiAxisGatedMLP(channels, side, bias), ResidualConvAttention(channels, bias)
        super().__init__(gmlp, rcab)
        self.multiple = side


class BottleneckBlock(nn.Module):
    """A pointwise map, then twice multi-axis gMLP and RDCAB, inside a residual."""

    def __init__(self, channels: int, side: int, bias: bool) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.body = Stage(
            MultiAxisGatedMLP(channels, side, bias),
            ResidualDenseAttention(channels, bias),
            MultiAxisGatedMLP(channels, side, bias),
            ResidualDenseAttention(channels, bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W)."""
        x = self.project(x)
        return x + self.body(x)


class GatingWeights(Fusible):
    """The weights one input of a cross gating block gives the other."""

    def __init__(self, channels: int, side: int, bias: bool) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.expand = Dense(channels, 2 * channels, bias)
        self.grid = TokenMixing(side, "grid", bias)
        self.block = TokenMixing(side, "block", bias)
        self.reduce = Dense(2 * channels, channels, bias)
        self.gelu = nn.GELU()

    @fusible(fused.gating_weights, expand=Dense, grid=TokenMixing, block=TokenMixing)
    def forward(self, x: Tensor) -> Tensor:
        """Weights (N, C, H, W) from `x` (N, C, H, W)."""
        u, v = self.gelu(self.expand(self.norm(x))).chunk(2, dim=1)
        return self.reduce(torch.cat([self.grid(u), self.block(v)], dim=1))


class CrossGating(nn.Module):
    """Gates encoder features and a coarser signal by each other (MAXIM, section 3.3).

    Args:
        x_channels: of the encoder features.
        y_channels: of the gate signal, at half the resolution; None where it has the features'
            size.
        channels: of both results.
        side: see `TOKENS_PER_SIDE`.
        bias: whether convolutions and dense layers have biases.
    """

    def __init__(
        self, x_channels: int, y_channels: int | None, channels: int, side: int, bias: bool
    ) -> None:
        super().__init__()
        self.upsample = (
            nn.Identity()
            if y_channels is None
            else nn.ConvTranspose2d(y_channels, channels, 2, stride=2, bias=bias)
        )
        self.project_x = nn.Conv2d(x_channels, channels, 1, bias=bias)
        self.project_y = nn.Conv2d(channels, channels, 1, bias=bias)
        self.norm_x = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.norm_y = LayerNorm2d(channels, eps=LAYER_NORM_EPS)
        self.expand_x = Dense(channels, channels, bias)
        self.expand_y = Dense(channels, channels, bias)
        self.weights_x = GatingWeights(channels, side, bias)
        self.weights_y = GatingWeights(channels, side, bias)
        self.reduce_x = Dense(channels, channels, bias)
        self.reduce_y = Dense(channels, channels, bias)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, x_channels, H, W) and (N, y_channels, H/2, W/2) to both at (N, channels, H, W)."""
        x, y = self.project_x(x), self.project_y(self.upsample(y))
        hidden_x = self.gelu(self.expand_x(self.norm_x(x)))
        hidden_y = self.gelu(self.expand_y(self.norm_y(y)))
        y = y + self.reduce_y(hidden_y * self.weights_x(hidden_x))
        x = x + self.reduce_x(hidden_x * self.weights_y(hidden_y)) + y
        return x, y


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize `x` (N, C, h, w) to the size of `like`, bilinear; antialiased where it shrinks."""
    size = like.shape[-2:]
    if x.shape[-2:] == size:
        return x
    if x.shape[-1] < size[-1]:
        return F.interpolate(x, size=size, mode="bilinear")
    # CPUs have no half precision here
    x32 = at_least_float32(x)
    return F.interpolate(x32, size=size, mode="bilinear", antialias=True).to(x.dtype)


class ResizeAndConcat(nn.ModuleList):
    """Features of several levels at one size, each passed through its module; concatenated."""

    def forward(self, features: Sequence[Tensor], like: Tensor) -> Tensor:
        """Features (N, C_i, h_i, w_i) to (N, ΣC'_i, H, W) at the height and width of `like`."""
        parts = [module(resize_to(x, like)) for module, x in zip(self, features, strict=True)]
        return torch.cat(parts, dim=1)
