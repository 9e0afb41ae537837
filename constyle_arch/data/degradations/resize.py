"""Loss of resolution."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation, Quantity
from constyle_arch.images import FloatImage

INTERPOLATIONS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


class Resize(Degradation):
    """Resize by a factor and back to the size there was.

    Args:
        scale: the factor; below 1 the image becomes smaller first.
        interpolation: `area`, `bilinear` or `bicubic`, or a list from which each of the two steps
            draws one.
    """

    def __init__(
        self, scale: Any = (0.25, 1), interpolation: str | Sequence[str] = tuple(INTERPOLATIONS)
    ) -> None:
        self.scale = Quantity.parse(scale, "scale", lowest=0.01, highest=16)
        names = [interpolation] if isinstance(interpolation, str) else list(interpolation)
        if not names or not set(names) <= INTERPOLATIONS.keys():
            raise ValueError(
                f"interpolation is {interpolation!r}; there are {', '.join(INTERPOLATIONS)}."
            )
        self.interpolations = names
        # bicubic reaches two pixels of the smaller image
        self.margin = math.ceil(2 / min(*self.scale.values, 1.0))

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Resize an image (H, W, C) in [0, 1] there and back; what overshoots is clipped."""
        height, width = image.shape[:2]
        scale = self.scale.draw(rng)
        there, back = (self.interpolations[rng.randint(len(self.interpolations))] for _ in range(2))
        small = resized(image, round(height * scale), round(width * scale), there)
        return resized(small, height, width, back)


def resized(image: FloatImage, height: int, width: int, interpolation: str) -> FloatImage:
    """An image (H, W, C) at another size, of at least one pixel; values clipped to [0, 1]."""
    size = max(width, 1), max(height, 1)
    result = cv2.resize(image, size, interpolation=INTERPOLATIONS[interpolation])
    return np.clip(np.asarray(result, np.float32).reshape(size[1], size[0], image.shape[2]), 0, 1)
