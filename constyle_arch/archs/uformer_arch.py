"""Uformer's operator (CVPR 2022, arXiv 2106.03106) and ConStyle-Uformer (arXiv 2406.18242)."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from constyle_arch.archs.general_restoration_arch import (
    LEVELS,
    OPERATOR_REGISTRY,
    GeneralRestorationNetwork,
)
from constyle_arch.archs.layers import Dense, LayerNorm2d, check_heads
from constyle_arch.registry import ARCH_REGISTRY

WINDOW = 8
"""Side of a window, in pixels of its level."""
EXPANSION = 4
"""Hidden channels of the feed-forward layer, as a multiple of its channels."""

WINDOWS = "n (rows columns) (y x) c"
IMAGE = "n c (rows y) (columns x)"


class WindowAttention(nn.Module):
    """W-MSA: self-attention in windows, with a bias by offset (Uformer, equation 2)."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        offsets = 2 * WINDOW - 1  # along an axis
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets**2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        axis = torch.arange(WINDOW)
        y, x = torch.cartesian_prod(axis, axis).T
        dy, dx = (place[:, None] - place + WINDOW - 1 for place in (y, x))
        self.register_buffer("relative_position_index", dy * offsets + dx)
        to_q, to_kv = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.qkv = nn.ModuleDict({"to_q": to_q, "to_kv": to_kv})
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """softmax(q kᵀ / √d + B) v in the windows of `x` (N, windows, pixels, C), projected.

        Args:
            x: the windows.
            apart: which pixels must not attend to which, (windows, pixels, pixels); None where all
                may.
        """
        keys, values = self.qkv["to_kv"](x).chunk(2, dim=-1)
        parts = self.qkv["to_q"](x), keys, values
        pattern = "n w p (head c) -> n w head p c"
        q, k, v = (rearrange(part, pattern, head=self.heads) for part in parts)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if apart is not None:
            bias = bias.masked_fill(apart[:, None], -torch.inf)
        attention = (q @ k.mT * q.shape[-1] ** -0.5 + bias).softmax(dim=-1)
        return self.proj(rearrange(attention @ v, "n w head p c -> n w p (head c)"))


def locally_enhanced_feed_forward(channels: int) -> nn.Sequential:
    """LeFF: a feed-forward layer with a depthwise convolution inside (Uformer, section 3.2)."""
    hidden = EXPANSION * channels
    return nn.Sequential(
        OrderedDict(
            linear1=nn.Sequential(Dense(channels, hidden), nn.GELU()),
            dwconv=nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.GELU()),
            linear2=nn.Sequential(Dense(hidden, channels)),
        )
    )


@OPERATOR_REGISTRY.register()
class LeWinBlock(nn.Module):
    """Uformer's operator: window attention and LeFF, each after a norm and in a residual.

    Every second block of a stage is `shifted`: its windows lie across the borders of the others'.

    Args:
        channels: of the input and the output.
        heads: attention heads; they divide `channels`.
        modulator: whether a learned value for each pixel of a window is added to what attention is
            given.

    Raises:
        ValueError: `heads` do not divide `channels`.
    """

    multiple = WINDOW
    shifted = False

    def __init__(self, channels: int, heads: int = 1, modulator: bool = False) -> None:
        super().__init__()
        check_heads(heads, channels)
        self.modulator = nn.Embedding(WINDOW**2, channels) if modulator else None
        self.norm1 = LayerNorm2d(channels)
        self.attn = WindowAttention(channels, heads)
        self.norm2 = LayerNorm2d(channels)
        self.mlp = locally_enhanced_feed_forward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform `x` (N, C, H, W), H and W divisible by 8 (equation 1)."""
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def attend(self, x: Tensor) -> Tensor:
        """Attention in the windows of `x`; of the rolled image where windows are shifted."""
        shift = WINDOW // 2 if self.shifted else 0
        rows, columns = (length // WINDOW for length in x.shape[2:])
        sizes = {"rows": rows, "columns": columns, "y": WINDOW, "x": WINDOW}
        windows = rearrange(x.roll((-shift, -shift), (2, 3)), f"{IMAGE} -> {WINDOWS}", **sizes)
        if self.modulator is not None:
            windows = windows + self.modulator.weight
        windows = self.attn(windows, self.apart(x, sizes) if self.shifted else None)
        return rearrange(windows, f"{WINDOWS} -> {IMAGE}", **sizes).roll((shift, shift), (2, 3))

    def apart(self, x: Tensor, sizes: dict[str, int]) -> Tensor:
        """Which pixels of a rolled window come from opposite borders: (windows, pixels, pixels)."""
        height, width = x.shape[2:]
        below = torch.arange(height, device=x.device) >= height - WINDOW // 2
        right = torch.arange(width, device=x.device) >= width - WINDOW // 2
        border = 2 * below[:, None] + right.long()
        border = rearrange(border[None, None], f"{IMAGE} -> {WINDOWS}", **sizes)[0, :, :, 0]
        return border[:, :, None] != border[:, None]


@ARCH_REGISTRY.register()
class ConStyleUformer(GeneralRestorationNetwork):
    """ConStyle-Uformer: Uformer's operator, guided by ConStyle (4.143 M parameters).

    Blocks on the way up have modulators. Source: the release of ConStyle v2 (arXiv 2406.18242); the
    defaults are its.

    Args:
        dim: channels at full resolution; a multiple of 4.
        num_blocks_down, num_blocks_bottleneck, num_blocks_up: see `GeneralRestorationNetwork`.
        heads: attention heads of the stages of `dim`, 2·`dim`, 3·`dim` and 4·`dim` channels.
        use_features, use_code, encoder_initialization: see `GuidedNetwork`.
    """

    multiple = 64

    def __init__(
        self,
        *,
        dim: int = 32,
        num_blocks_down: Sequence[int] = (2, 2, 2),
        num_blocks_bottleneck: int = 2,
        num_blocks_up: Sequence[int] = (2, 2, 2),
        heads: Sequence[int] = (1, 2, 4, 8),
        use_features: bool = True,
        use_code: bool = True,
        encoder_initialization: str = "he",
    ) -> None:
        if len(heads) != LEVELS:
            raise ValueError(f"heads is {list(heads)}; it must list those of four widths.")

        def operator(channels: int, level: int) -> LeWinBlock:
            modulator = channels > (level + 1) * dim
            return LeWinBlock(channels, heads[channels // dim - 1], modulator)

        super().__init__(
            operator,
            preprocess=lambda dim: nn.Sequential(
                nn.Conv2d(3, dim, 3, padding=1), nn.LeakyReLU(inplace=True)
            ),
            dim=dim,
            num_blocks_down=num_blocks_down,
            num_blocks_bottleneck=num_blocks_bottleneck,
            num_blocks_up=num_blocks_up,
            bias=True,
            use_features=use_features,
            use_code=use_code,
            encoder_initialization=encoder_initialization,
        )
