"""Layers that several networks share."""

import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (N, C, H, W): mean removed, scale and shift learned."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of `x` over its channels."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def checked_image(image: Tensor) -> Tensor:
    """`image`, if it is a batch of RGB images.

    Raises:
        ValueError: its shape is not (N, 3, H, W).
    """
    if image.dim() != 4 or image.shape[1] != 3:
        raise ValueError(f"The input has shape {tuple(image.shape)}; wanted (N, 3, H, W), RGB in [0, 1].")
    return image


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend `image` (N, C, H, W) at its bottom and right until both sides are divisible by `multiple`.

    The border is mirrored; where a side is too short for that, the last pixels are repeated on both sides instead.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom == 0 and right == 0:
        return image
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode)
