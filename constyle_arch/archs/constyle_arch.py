"""ConStyle, the encoder of IRConStyle (arXiv 2402.15784, section 3.2)."""

from typing import NamedTuple

from torch import Tensor, nn

from constyle_arch.archs.layers import (
    at_least_float32,
    check_choice,
    initialize_convolutions,
    make_channels_last,
    without_autocast,
)
from constyle_arch.registry import ARCH_REGISTRY

CODE_CHANNELS = 128
FEATURE_CHANNELS = (32, 64, 128)
SLOPE = 0.1
"""Of LeakyReLU for negative values."""
INITIALIZATIONS = ("he", "published")


class Codes(NamedTuple):
    """The codes of a batch, (N, 128) each: c1 of the first projection, c2 of the second."""

    c1: Tensor
    c2: Tensor


class Encoding(NamedTuple):
    """What ConStyle makes of an image batch.

    `features` are (N, 32, H/2, W/2), (N, 64, H/4, W/4) and (N, 128, H/8, W/8).
    """

    codes: Codes
    features: tuple[Tensor, Tensor, Tensor]


def convolutions(in_channels: int, *out_channels: int) -> nn.Sequential:
    """One stage: 3×3 convolutions with LeakyReLU 0.1, the last of which has stride 2."""
    layers: list[nn.Module] = []
    for position, channels in enumerate(out_channels, start=1):
        stride = 2 if position == len(out_channels) else 1
        convolution = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.LeakyReLU(SLOPE, inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers)


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """Linear, BatchNorm, GELU: makes one code from the pooled features or from the other code."""
    linear, norm = nn.Linear(in_channels, out_channels), nn.BatchNorm1d(out_channels)
    return nn.Sequential(linear, norm, nn.GELU())


@ARCH_REGISTRY.register()
class ConStyle(nn.Module):
    """Encodes an image's degradation as features at three scales and two codes of 128 numbers.

    Source: arXiv 2402.15784, section 3.2.

    Args:
        initialization: of the convolutions: `he`, which keeps the features' variance (He et al.,
            arXiv 1502.01852); or `published`, PyTorch's default, with which the features of an
            image fade to 1/1000 of its contrast before the codes are made.

    Raises:
        ValueError: there is no such initialization.
    """

    def __init__(self, *, initialization: str = "he") -> None:
        super().__init__()
        check_choice("initialization", initialization, INITIALIZATIONS)
        self.stages = nn.ModuleList(
            [
                convolutions(3, 16, 16, FEATURE_CHANNELS[0]),
                convolutions(FEATURE_CHANNELS[0], 32, FEATURE_CHANNELS[1]),
                convolutions(FEATURE_CHANNELS[1], 128, FEATURE_CHANNELS[2]),
                convolutions(FEATURE_CHANNELS[2], 256, 256),
            ]
        )
        self.projections = nn.ModuleList(
            projection(channels, CODE_CHANNELS) for channels in (256, CODE_CHANNELS)
        )
        if initialization == "he":
            initialize_convolutions(self.stages, SLOPE)
        make_channels_last(self)

    STRIDE = 16
    """Pixels of the image between neighbours of the deepest feature."""
    REACH = 32
    """More than the pixels around its own that the deepest feature depends on: 3 + 4 + 8 + 16."""

    def forward(self, image: Tensor) -> Encoding:
        """Encode `image` (N, 3, H, W) with values in [0, 1].

        In training mode the codes pass batch statistics, so N must be at least 2.
        """
        half, quarter, eighth, deepest = self.features(image)
        codes = self.codes(at_least_float32(deepest).mean(dim=(2, 3)))
        return Encoding(codes, (half, quarter, eighth))

    def features(self, image: Tensor) -> list[Tensor]:
        """The results of the four stages; the last is (N, 256, H/16, W/16), sides rounded up."""
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]

    def codes(self, pooled: Tensor) -> Codes:
        """The codes of images from the means (N, 256) of their deepest feature."""
        # codes are compared: half precision is too coarse for them
        with without_autocast(pooled.device):
            c1 = self.projections[0](pooled.to(next(self.projections.parameters()).dtype))
            return Codes(c1, self.projections[1](c1))
