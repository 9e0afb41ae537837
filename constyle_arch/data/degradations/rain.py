"""Rain streaks."""

from typing import Any

import cv2
import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation
from constyle_arch.data.degradations.motion_blur import path_kernel
from constyle_arch.data.degradations.quantity import Quantity
from constyle_arch.images import FloatImage


class Rain(Degradation):
    """Bright, parallel rain streaks: I = J + S·(1 − J), where S is the streaks' opacity.

    Drops are scattered at random and smeared along the direction they fall in.

    Args:
        density: share of the pixels that hold a drop, in [0, 1].
        length: of a streak in pixels, at least 1.
        angle: of the streaks in degrees from the vertical.
        brightness: opacity of a single streak, in [0, 1].
    """

    def __init__(
        self,
        density: Any = (0.002, 0.01),
        length: Any = (10, 30),
        angle: Any = (-30, 30),
        brightness: Any = (0.3, 0.8),
    ) -> None:
        self.density = Quantity.parse(density, "density", highest=1)
        self.length = Quantity.parse(length, "length", lowest=1)
        self.angle = Quantity.parse(angle, "angle", lowest=-90, highest=90)
        self.brightness = Quantity.parse(brightness, "brightness", highest=1)
        self.margin = int(np.ceil(self.length.largest / 2)) + 1

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Let it rain on an image (H, W, C) in [0, 1]; the result lies there too."""
        density, brightness = self.density.draw(rng), self.brightness.draw(rng)
        kernel = path_kernel(self.length.draw(rng), 90 + self.angle.draw(rng))
        drops = (rng.random_sample(image.shape[:2]) < density).astype(np.float32)
        opacity = cv2.filter2D(drops, -1, kernel / kernel.max(), borderType=cv2.BORDER_CONSTANT)
        streaks = np.clip(brightness * opacity, 0, 1, dtype=np.float32)[..., None]
        return image + streaks * (1 - image)
