"""Motion blur of a moving camera."""

from typing import Any

import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.blur import filtered
from constyle_arch.data.degradations.degradation import Degradation
from constyle_arch.data.degradations.quantity import Quantity
from constyle_arch.images import FloatImage


class MotionBlur(Degradation):
    """Blur by a camera that moved along an arc at constant speed while the shutter was open.

    Args:
        length: of the path in pixels, at least 1 (sharp).
        angle: of the path's middle in degrees, counter-clockwise from the horizontal.
        turn: degrees by which the direction turns along the path; 0 is a straight line.
    """

    def __init__(self, length: Any, angle: Any = (0, 180), turn: Any = 0) -> None:
        self.length = Quantity.parse(length, "length", lowest=1)
        self.angle = Quantity.parse(angle, "angle", lowest=-360, highest=360)
        self.turn = Quantity.parse(turn, "turn", lowest=-360, highest=360)
        self.margin = int(np.ceil(self.length.largest / 2)) + 1

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Blur an image (H, W, C); beyond its border it is taken as mirrored."""
        kernel = path_kernel(self.length.draw(rng), self.angle.draw(rng), self.turn.draw(rng))
        return filtered(image, kernel)


def path_kernel(length: float, angle: float, turn: float = 0) -> FloatImage:
    """The kernel (K, K), K odd, of a centred arc `length` pixels long; it sums to 1.

    The arc is sampled densely and each sample shared among its four nearest pixels.
    """
    steps = max(8 * int(np.ceil(length)), 8) + 1
    directions = np.deg2rad(angle + turn * np.linspace(-0.5, 0.5, steps))
    stride = (length - 1) / (steps - 1)
    path = np.cumsum(np.stack([np.cos(directions), -np.sin(directions)]) * stride, axis=1)
    path -= path[:, steps // 2, None]
    radius = int(np.ceil(np.abs(path).max())) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    columns, rows = path + radius
    left, top = np.floor(columns).astype(int), np.floor(rows).astype(int)
    right_share, bottom_share = columns - left, rows - top
    np.add.at(kernel, (top, left), (1 - bottom_share) * (1 - right_share))
    np.add.at(kernel, (top, left + 1), (1 - bottom_share) * right_share)
    np.add.at(kernel, (top + 1, left), bottom_share * (1 - right_share))
    np.add.at(kernel, (top + 1, left + 1), bottom_share * right_share)
    return (kernel / kernel.sum()).astype(np.float32)
