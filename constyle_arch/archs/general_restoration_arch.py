"""The general restoration network of IRConStyle (arXiv 2402.15784, section 3.3): a guided U-Net.

The network reads top to bottom as the paper's figure: preprocess, three stages down that take in
ConStyle's features, a bottleneck that takes in its code, three stages up, finetune, and the input
added at the end. What a stage computes is the *operator*, a parameter; `nafnet_arch.py` shows one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import (
    CODE_CHANNELS,
    FEATURE_CHANNELS,
    SLOPE,
    Codes,
    ConStyle,
)
from constyle_arch.archs.layers import (
    RestorationNetwork,
    Stage,
    check_choice,
    check_dim,
    make_channels_last,
)
from constyle_arch.registry import ARCH_REGISTRY, Registry

Operator = Callable[[int, int], nn.Module]
"""Makes a block from its channels and its level, 0 at full resolution to 3 at 1/8."""

OPERATOR_REGISTRY = Registry("operator")
"""Classes of blocks for option files: called with the channels, and options by keyword."""

LEVELS = 4

ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": nn.PReLU,
    "leaky_relu": lambda channels: nn.LeakyReLU(SLOPE, inplace=True),
}
"""Makes an activation from the channels it is for."""


def registered_operator(name: str, options: Mapping[str, Any]) -> Operator:
    """The operator whose blocks are of the registered class `name`.

    Args:
        name: in `OPERATOR_REGISTRY`.
        options: of the blocks; a list holds a value for each level, from full resolution to the
            bottleneck.

    Raises:
        ValueError: there is no such operator, `options` are none, or a list is of another length.
    """
    if name not in OPERATOR_REGISTRY:
        known = ", ".join(sorted(name for name, _ in OPERATOR_REGISTRY))
        raise ValueError(f"operator is {name!r}; it must be one of {known}.")
    if not isinstance(options, Mapping):
        raise ValueError(f"operator_options is {options!r}; it must be a section of options.")
    listed = {option for option, value in options.items() if isinstance(value, list | tuple)}
    for option in listed:
        if len(options[option]) != LEVELS:
            raise ValueError(
                f"{option} is {list(options[option])}; as a list it must hold the {option} of four "
                "levels."
            )

    def block(channels: int, level: int) -> nn.Module:
        chosen = {one: value[level] if one in listed else value for one, value in options.items()}
        return OPERATOR_REGISTRY.get(name)(channels, **chosen)

    return block


class Downsample(nn.Module):
    """DC, downsample and concat: (N, C, H, W) to (N, out_channels, H/2, W/2).

    A guide, if there is one, takes the last channels; what it leaves comes from `x`.
    """

    def __init__(self, channels: int, guide_channels: int, out_channels: int) -> None:
        super().__init__()
        left = out_channels - guide_channels
        self.reduce = nn.Conv2d(channels, left // 4, 3, padding=1, bias=False)
        self.unshuffle = nn.PixelUnshuffle(2)

    def forward(self, x: Tensor, guide: Tensor | None) -> Tensor:
        """Halve `x` and append `guide` (N, guide_channels, H/2, W/2)."""
        x = self.unshuffle(self.reduce(x))
        return x if guide is None else torch.cat([x, guide], dim=1)


class Upsample(nn.Module):
    """UC, upsample and concat: (N, C, H, W) and a skip at 2H×2W to (N, out_channels, 2H, 2W)."""

    def __init__(self, channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 4 * channels, 3, padding=1, bias=False)
        self.shuffle = nn.PixelShuffle(2)
        self.join = nn.Conv2d(channels + skip_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Double `x`, append `skip` and mix."""
        return self.join(torch.cat([self.shuffle(self.expand(x)), skip], dim=1))


class GuidedNetwork(RestorationNetwork):
    """What all guided networks share: the encoder, and where its features and code enter.

    A subclass says in `restore` how the image is restored between them.

    Args:
        dim: d, the channels at full resolution; a multiple of 4.
        feature_activation: after each projection of a ConStyle feature: `prelu` or `leaky_relu`, of
            slope 0.1.
        use_features: whether ConStyle's features enter on the way down. Without them the
            convolutions of the way down make up for their channels.
        use_code: whether ConStyle's code weighs the channels of the bottleneck.
        fuse_bias: whether the convolution after the bottleneck, which fuses the code, has a bias.
        encoder_initialization: `ConStyle`'s: `he` or `published`.

    Raises:
        ValueError: `dim` is not a positive multiple of 4, or there is no such activation or
            initialization.
    """

    def __init__(
        self,
        dim: int,
        *,
        feature_activation: str = "leaky_relu",
        use_features: bool = True,
        use_code: bool = True,
        fuse_bias: bool = False,
        encoder_initialization: str = "he",
    ) -> None:
        super().__init__()
        check_choice("feature_activation", feature_activation, ACTIVATIONS)
        check_dim(dim)
        self.encoder = ConStyle(initialization=encoder_initialization)
        self.project_features = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, dim, 1, bias=False), ACTIVATIONS[feature_activation](dim)
            )
            for channels in (FEATURE_CHANNELS if use_features else ())
        )
        guide = dim if use_features else 0
        self.downsample = nn.ModuleList(
            Downsample(width * dim, guide, (width + 1) * dim) for width in (1, 2, 3)
        )
        self.project_code = nn.Linear(CODE_CHANNELS, 4 * dim) if use_code else None
        self.fuse = nn.Conv2d(8 * dim if use_code else 4 * dim, 3 * dim, 1, bias=fuse_bias)

    def forward(self, lq: Tensor, return_codes: bool = False, codes: Codes | None = None) -> Any:
        """Restore `lq` (N, 3, H, W) with values in [0, 1], of any height and width.

        Args:
            lq: the degraded images.
            return_codes: also return ConStyle's codes of `lq`, which its losses need in training.
            codes: codes to restore with instead of those of `lq`, which may be a part of the image
                they belong to.

        Returns:
            The restored images (N, 3, H, W), not clamped; with `return_codes`, the pair (images,
            `Codes`).

        Raises:
            ValueError: `lq` does not have three channels.
        """
        image = self.padded(lq)
        features: Sequence[Tensor] = ()
        if codes is None and (return_codes or self.project_code is not None):
            codes, features = self.encoder(image)
        elif len(self.project_features):
            features = self.encoder.features(image)[:-1]
        projections = zip(self.project_features, features, strict=False)
        guides = [project(feature) for project, feature in projections]
        restored = self.restored(lq, image, guides or [None] * len(FEATURE_CHANNELS), codes)
        return (restored, codes) if return_codes else restored

    def restore(
        self, image: Tensor, guides: Sequence[Tensor | None], codes: Codes | None
    ) -> Tensor:
        """The residual (N, 3, H, W) that makes `image` clean; `multiple` divides H and W.

        Args:
            image: the padded input (N, 3, H, W).
            guides: ConStyle's projected features (N, dim, H/2, W/2), (…, H/4, W/4), (…, H/8, W/8);
                or three None.
            codes: ConStyle's codes of the image; None where they do not enter.
        """
        raise NotImplementedError

    def fuse_code(self, x: Tensor, codes: Codes | None) -> Tensor:
        """Weigh the bottleneck's channels by the code: (N, 4·dim, h, w) to (N, 3·dim, h, w)."""
        if self.project_code is not None and codes is not None:
            code = self.project_code(codes.c2)[:, :, None, None]
            x = torch.cat([x, x * code], dim=1)
        return self.fuse(x)


@ARCH_REGISTRY.register()
class GeneralRestorationNetwork(GuidedNetwork):
    """U-Net guided by ConStyle, with preprocess, process (its operator) and finetune to choose.

    Source: arXiv 2402.15784, section 3.3 and figure 2.

    Args:
        operator: of the stages: the name of a registered one, `ConvBlock`, `KBBlock`, `LeWinBlock`,
            `MaximBlock`, `NAFBlock` or `TransformerBlock`; in Python also a function that makes a
            block from (channels, level). A block keeps the shape of its input; what that must be
            divisible by, it says as `multiple`. Every second block of a stage becomes `shifted`
            where its class has that attribute.
        operator_options: of a registered operator; a list holds a value for each of the four
            levels, from full resolution to the bottleneck.
        preprocess: makes what turns the image into features (N, dim, H, W), from `dim`; left out, a
            3×3 convolution.
        finetune: makes what turns features into the residual (N, 3, H, W), from their channels;
            left out, a 3×3 convolution.
        dim: channels at full resolution; a multiple of 4.
        num_blocks_down: blocks of the three stages on the way down, fine to coarse.
        num_blocks_bottleneck: blocks at 1/8 of the resolution.
        num_blocks_up: blocks of the three stages on the way up, coarse to fine.
        num_refinement_blocks: blocks after the last stage, before `finetune`, at full resolution.
        bias: whether the output convolution has a bias.
        feature_activation, use_features, use_code, fuse_bias, encoder_initialization: see
            `GuidedNetwork`.

    Raises:
        ValueError: an argument does not fit; the message names it, its value and the wanted one.
    """

    multiple = 8
    preprocess: nn.Module
    refine: nn.Module
    output: nn.Module

    def __init__(
        self,
        operator: str | Operator = "NAFBlock",
        *,
        operator_options: Mapping[str, Any] | None = None,
        preprocess: Callable[[int], nn.Module] | None = None,
        finetune: Callable[[int], nn.Module] | None = None,
        dim: int = 48,
        num_blocks_down: Sequence[int] = (4, 6, 6),
        num_blocks_bottleneck: int = 8,
        num_blocks_up: Sequence[int] = (6, 6, 4),
        num_refinement_blocks: int = 0,
        bias: bool = False,
        feature_activation: str = "leaky_relu",
        use_features: bool = True,
        use_code: bool = True,
        fuse_bias: bool = False,
        encoder_initialization: str = "he",
    ) -> None:
        super().__init__(
            dim,
            feature_activation=feature_activation,
            use_features=use_features,
            use_code=use_code,
            fuse_bias=fuse_bias,
            encoder_initialization=encoder_initialization,
        )
        if not callable(operator):
            operator = registered_operator(operator, operator_options or {})
        elif operator_options:
            raise ValueError(
                "operator_options go with the name of an operator; a function has its own."
            )
        lists = {"num_blocks_down": num_blocks_down, "num_blocks_up": num_blocks_up}
        for option, blocks in lists.items():
            if len(blocks) != 3 or min(blocks) < 0:
                raise ValueError(
                    f"{option} is {list(blocks)}; it must list the blocks of three stages."
                )
        for option, count in (
            ("num_blocks_bottleneck", num_blocks_bottleneck),
            ("num_refinement_blocks", num_refinement_blocks),
        ):
            if count < 0:
                raise ValueError(f"{option} is {count}; it must be at least 0.")

        def stage(channels: int, level: int, num_blocks: int) -> Stage:
            blocks: list[Any] = [operator(channels, level) for _ in range(num_blocks)]
            for block in blocks[1::2]:
                if hasattr(block, "shifted"):
                    block.shifted = True
            multiples = (2**level * getattr(block, "multiple", 1) for block in blocks)
            self.multiple = math.lcm(self.multiple, *multiples)
            return Stage(*blocks)

        preprocess = preprocess or (lambda dim: nn.Conv2d(3, dim, 3, padding=1, bias=False))
        self.preprocess = preprocess(dim)
        stages = (stage((level + 1) * dim, level, n) for level, n in enumerate(num_blocks_down))
        self.down = nn.ModuleList(stages)
        self.bottleneck = stage(4 * dim, 3, num_blocks_bottleneck)
        self.upsample = nn.ModuleList(
            [
                Upsample(3 * dim, 3 * dim, 4 * dim),
                Upsample(4 * dim, 2 * dim, 3 * dim),
                Upsample(3 * dim, dim, 2 * dim),
            ]
        )
        levels = zip((4, 3, 2), (2, 1, 0), num_blocks_up, strict=True)
        self.up = nn.ModuleList(stage(width * dim, level, n) for width, level, n in levels)
        self.refine = stage(2 * dim, 0, num_refinement_blocks)
        finetune = finetune or (lambda channels: nn.Conv2d(channels, 3, 3, padding=1, bias=bias))
        self.output = finetune(2 * dim)
        make_channels_last(self)

    def restore(
        self, image: Tensor, guides: Sequence[Tensor | None], codes: Codes | None
    ) -> Tensor:
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
