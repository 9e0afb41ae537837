"""MAXIM-2S and -3S (Tu et al., CVPR 2022, arXiv 2201.02973, figure 2), as released.

The release is written in JAX, whose habits the network keeps: GELU by tanh, and images extended on
both sides.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from constyle_arch.archs.layers import (
    RestorationNetwork,
    checked_image,
    make_channels_last,
    pad_to_multiple,
)
from constyle_arch.archs.maxim_arch import MaximStage, StageFeatures, scales_of
from constyle_arch.registry import ARCH_REGISTRY


class SupervisedAttention(nn.Module):
    """SAM: makes an image of features and weighs them by it (MPRNet, arXiv 2102.02808)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 3, padding=1)
        self.restore = nn.Conv2d(channels, 3, 3, padding=1)
        self.weigh = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features and image (N, 3, H, W) to attended features and restored image."""
        restored = self.restore(x) + image
        return x + self.project(x) * self.weigh(restored).sigmoid(), restored


@ARCH_REGISTRY.register()
class MultiStageMaxim(RestorationNetwork):
    """MAXIM-2S (14.176 M parameters) and MAXIM-3S (22.213 M), by the number of stages.

    Every stage restores the image at three scales, and a stage takes in the features of the one
    before. The last stage's image at full scale is the result. Its two coarse ones are there for
    training with `all_images`; gradients of the result do not reach their convolutions, which are
    frozen so that processes need not wait for them.
    Source: arXiv 2201.02973, section 3; the defaults are MAXIM-3S's.

    Args:
        num_stages: at least 2; `Maxim` has one.
        dim: channels at full resolution; each level down doubles them; a multiple of 4.
        num_blocks_bottleneck: blocks at 1/8 of the resolution.

    Raises:
        ValueError: `dim` is not a positive multiple of 4, or there are fewer than two stages.
    """

    multiple = 64
    stages: Any
    heads: Any

    def __init__(
        self, *, num_stages: int = 3, dim: int = 32, num_blocks_bottleneck: int = 2
    ) -> None:
        super().__init__()
        if num_stages < 2:
            raise ValueError(
                f"num_stages is {num_stages}; it must be at least 2. The network of one stage is "
                "Maxim."
            )
        self.stages = nn.ModuleList(
            MaximStage(
                dim=dim, num_blocks_bottleneck=num_blocks_bottleneck, bias=True, follows=stage > 0
            )
            for stage in range(num_stages)
        )
        widths = [dim, 2 * dim, 4 * dim]
        self.heads = nn.ModuleList(
            nn.ModuleList(SupervisedAttention(width) for width in widths)
            for _ in range(num_stages - 1)
        )
        self.heads.append(nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in widths))
        for head in self.heads[-1][1:]:
            head.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.GELU):
                module.approximate = "tanh"
        make_channels_last(self)

    def padded(self, lq: Tensor) -> Tensor:
        """`lq` with its border mirrored on both sides, see `pad_both_sides`."""
        return pad_both_sides(checked_image(lq), self.multiple)

    def restored(self, lq: Tensor, image: Tensor, *conditions: Any) -> Tensor:
        """The clean version of `image`, which is `lq` padded; cropped to the place of `lq`."""
        height, width = lq.shape[2:]
        top, left = (image.shape[2] - height) // 2, (image.shape[3] - width) // 2
        return (self.restore(image) + image)[..., top : top + height, left : left + width]

    def restore(self, image: Tensor) -> Tensor:
        """The residual (N, 3, H, W) that makes `image` clean; 64 divides H and W."""
        return self.heads[-1][0](self.pass_stages(image)[0].decoded[0])

    def all_images(self, image: Tensor) -> list[list[Tensor]]:
        """The images, at scales 1, ½ and ¼, that stages make of `image`; 64 divides H and W."""
        features, scales, images = self.pass_stages(image)
        levels = zip(self.heads[-1], features.decoded, scales, strict=True)
        return [*images, [conv(x) + scale for conv, x, scale in levels]]

    def pass_stages(self, image: Tensor) -> tuple[StageFeatures, list[Tensor], list[list[Tensor]]]:
        """The last stage's features, the scales of `image`, and the images of earlier stages."""
        scales = scales_of(image)
        features: StageFeatures = self.stages[0].features(scales)
        images = []
        for attention, stage in zip(self.heads[:-1], self.stages[1:], strict=True):
            levels = zip(attention, features.decoded, scales, strict=True)
            attended, restored = zip(*(sam(x, scale) for sam, x, scale in levels), strict=True)
            images.append(list(restored))
            features = stage.features(scales, attended, features)
        return features, scales, images


def pad_both_sides(image: Tensor, multiple: int) -> Tensor:
    """Mirror the border of `image` (N, C, H, W) equally on opposite sides up to a multiple.

    An odd side first gets one pixel at its end. Where a side is too short to be mirrored, the last
    pixels are repeated.
    """
    image = pad_to_multiple(image, 2)
    height, width = image.shape[-2:]
    top, left = -height % multiple // 2, -width % multiple // 2
    mode = "reflect" if top < height and left < width else "replicate"
    return F.pad(image, (left, left, top, top), mode=mode)
