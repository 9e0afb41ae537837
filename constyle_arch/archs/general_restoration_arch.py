"""The general restoration network of IRConStyle (arXiv 2402.15784, section 3.3): a U-Net that ConStyle guides.

The network reads top to bottom as the paper's figure: preprocess, three stages down that take in ConStyle's
features, a bottleneck that takes in its code, three stages up, refinement, and the input added at the end.
What a stage computes is the *operator*, a parameter; `restormer_arch.py` shows one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import CODE_CHANNELS, FEATURE_CHANNELS, Codes, ConStyle
from constyle_arch.archs.layers import Stage, checked_image, make_channels_last, pad_to_multiple

Operator = Callable[[int, int], nn.Module]
"""Makes one block from its channels and its level: 0 at full resolution, 3 at the bottleneck (1/8)."""


def leaky_relu(channels: int) -> nn.Module:
    """The activation after a projected feature, where a network does not choose its own."""
    return nn.LeakyReLU(0.1, inplace=True)


class Downsample(nn.Module):
    """DC, downsample and concat: (N, C, H, W) to (N, out_channels, H/2, W/2).

    A guide, if there is one, takes the last channels; what it leaves comes from `x`.
    """

    def __init__(self, channels: int, guide_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, (out_channels - guide_channels) // 4, 3, padding=1, bias=False)
        self.unshuffle = nn.PixelUnshuffle(2)

    def forward(self, x: Tensor, guide: Tensor | None) -> Tensor:
        """Halve `x` and append `guide` (N, guide_channels, H/2, W/2)."""
        x = self.unshuffle(self.reduce(x))
        return x if guide is None else torch.cat([x, guide], dim=1)


class Upsample(nn.Module):
    """UC, upsample and concat: (N, C, H, W) and a skip (N, S, 2H, 2W) to (N, out_channels, 2H, 2W)."""

    def __init__(self, channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 4 * channels, 3, padding=1, bias=False)
        self.shuffle = nn.PixelShuffle(2)
        self.join = nn.Conv2d(channels + skip_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Double `x`, append `skip` and mix."""
        return self.join(torch.cat([self.shuffle(self.expand(x)), skip], dim=1))


class GuidedNetwork(nn.Module):
    """What every network guided by ConStyle has: the encoder, and where its features and its code enter.

    A subclass says in `restore` how the image is restored between them.

    Args:
        dim: d, the channels at full resolution; a multiple of 4.
        feature_activation: makes the activation after each projection of a ConStyle feature, from the channels.
        use_features: whether ConStyle's features enter on the way down. Without them the convolutions of the way
            down make up for their channels.
        use_code: whether ConStyle's code weighs the channels of the bottleneck.
        encoder_initialization: `ConStyle`'s: `he` or `published`.

    Raises:
        ValueError: `dim` is not a positive multiple of 4, or there is no such initialization.
    """

    multiple: int
    """Height and width must be divisible by it inside; `forward` pads to it and crops back."""

    def __init__(
        self,
        dim: int,
        *,
        feature_activation: Callable[[int], nn.Module] = leaky_relu,
        use_features: bool = True,
        use_code: bool = True,
        encoder_initialization: str = "he",
    ) -> None:
        super().__init__()
        if dim <= 0 or dim % 4:
            raise ValueError(f"dim is {dim}; it must be a positive multiple of 4 (a level's channels are quartered).")
        self.encoder = ConStyle(initialization=encoder_initialization)
        self.project_features = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1, bias=False), feature_activation(dim))
            for channels in (FEATURE_CHANNELS if use_features else ())
        )
        self.downsample = nn.ModuleList(
            Downsample((level + 1) * dim, dim if use_features else 0, (level + 2) * dim) for level in range(3)
        )
        self.project_code = nn.Linear(CODE_CHANNELS, 4 * dim) if use_code else None
        self.fuse = nn.Conv2d(8 * dim if use_code else 4 * dim, 3 * dim, 1, bias=False)

    def forward(self, lq: Tensor, return_codes: bool = False, codes: Codes | None = None) -> Any:
        """Restore `lq` (N, 3, H, W) with values in [0, 1], of any height and width.

        Args:
            lq: the degraded images.
            return_codes: also return ConStyle's codes of `lq`, which its losses need in training.
            codes: codes to restore with instead of those of `lq`, which may be a part of the image they belong to.

        Returns:
            The restored images (N, 3, H, W), not clamped; with `return_codes`, the pair (images, `Codes`).

        Raises:
            ValueError: `lq` does not have three channels.
        """
        image = pad_to_multiple(checked_image(lq), self.multiple)
        features: Sequence[Tensor] = ()
        if codes is None and (return_codes or self.project_code is not None):
            codes, features = self.encoder(image)
        elif len(self.project_features):
            features = self.encoder.features(image)[:-1]
        guides = [project(feature) for project, feature in zip(self.project_features, features, strict=False)]
        restored = self.restore(image, guides or [None] * len(FEATURE_CHANNELS), codes) + image
        restored = restored[..., : lq.shape[2], : lq.shape[3]]
        return (restored, codes) if return_codes else restored

    def restore(self, image: Tensor, guides: Sequence[Tensor | None], codes: Codes | None) -> Tensor:
        """The residual (N, 3, H, W) that turns `image` into the clean one; H and W are divisible by `multiple`.

        Args:
            image: the padded input (N, 3, H, W).
            guides: ConStyle's projected features (N, dim, H/2, W/2), (…, H/4, W/4), (…, H/8, W/8); or three None.
            codes: ConStyle's codes of the image; None where they do not enter.
        """
        raise NotImplementedError

    def fuse_code(self, x: Tensor, codes: Codes | None) -> Tensor:
        """Let the code weigh the channels of the bottleneck: (N, 4·dim, h, w) to (N, 3·dim, h, w)."""
        if self.project_code is not None and codes is not None:
            code = self.project_code(codes.c2)[:, :, None, None]
            x = torch.cat([x, x * code], dim=1)
        return self.fuse(x)


class GeneralRestorationNetwork(GuidedNetwork):
    """U-Net guided by ConStyle, with the operator of its stages left open.

    Source: arXiv 2402.15784, section 3.3.

    Args:
        operator: makes a block from (channels, level); the block keeps the shape of its input.
        dim: channels at full resolution; a multiple of 4.
        num_blocks_down: blocks of the three stages on the way down, fine to coarse.
        num_blocks_bottleneck: blocks at 1/8 of the resolution.
        num_blocks_up: blocks of the three stages on the way up, coarse to fine.
        num_refinement_blocks: blocks after the last stage, at full resolution.
        bias: whether the output convolution has a bias.
        **options: `GuidedNetwork`'s: feature_activation, use_features, use_code, encoder_initialization.

    Raises:
        ValueError: `dim` is not a multiple of 4, or a list of blocks does not have three entries of at least 0.
    """

    multiple = 8
    preprocess: nn.Module
    refine: nn.Module
    output: nn.Module

    def __init__(
        self,
        operator: Operator,
        *,
        dim: int = 48,
        num_blocks_down: Sequence[int] = (4, 6, 6),
        num_blocks_bottleneck: int = 8,
        num_blocks_up: Sequence[int] = (6, 6, 4),
        num_refinement_blocks: int = 0,
        bias: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(dim, **options)
        for option, numbers in (("num_blocks_down", num_blocks_down), ("num_blocks_up", num_blocks_up)):
            if len(numbers) != 3 or min(numbers) < 0:
                raise ValueError(f"{option} is {list(numbers)}; it must list the blocks of three stages.")

        for option, number in (
            ("num_blocks_bottleneck", num_blocks_bottleneck),
            ("num_refinement_blocks", num_refinement_blocks),
        ):
            if number < 0:
                raise ValueError(f"{option} is {number}; it must be at least 0.")

        def stage(channels: int, level: int, num_blocks: int) -> Stage:
            return Stage(*(operator(channels, level) for _ in range(num_blocks)))

        self.preprocess = nn.Conv2d(3, dim, 3, padding=1, bias=False)
        self.down = nn.ModuleList(
            stage((level + 1) * dim, level, num_blocks) for level, num_blocks in enumerate(num_blocks_down)
        )
        self.bottleneck = stage(4 * dim, 3, num_blocks_bottleneck)
        self.upsample = nn.ModuleList(
            [Upsample(3 * dim, 3 * dim, 4 * dim), Upsample(4 * dim, 2 * dim, 3 * dim), Upsample(3 * dim, dim, 2 * dim)]
        )
        self.up = nn.ModuleList(
            stage(channels, level, num_blocks)
            for channels, level, num_blocks in zip((4 * dim, 3 * dim, 2 * dim), (2, 1, 0), num_blocks_up, strict=True)
        )
        self.refine = stage(2 * dim, 0, num_refinement_blocks)
        self.output = nn.Conv2d(2 * dim, 3, 3, padding=1, bias=bias)
        make_channels_last(self)

    def restore(self, image: Tensor, guides: Sequence[Tensor | None], codes: Codes | None) -> Tensor:
        """Down with the guides, through the bottleneck with the code, and up with the skips."""
        x = self.preprocess(image)
        skips = []
        for stage, downsample, guide in zip(self.down, self.downsample, guides, strict=True):
            x = stage(x)
            skips.append(x)
            x = downsample(x, guide)
        x = self.fuse_code(self.bottleneck(x), codes)
        for upsample, stage, skip in zip(self.upsample, self.up, reversed(skips), strict=True):
            x = stage(upsample(x, skip))
        return self.output(self.refine(x))
