"""Blur: of a lens, of a moving camera, and of a sinc filter, which leaves ringing."""

import math
from typing import Any

import cv2
import numpy as np
from basicsr.data.degradations import (
    bivariate_Gaussian,
    bivariate_generalized_Gaussian,
    bivariate_plateau,
    circular_lowpass_kernel,
)
from numpy.random import RandomState
from numpy.typing import NDArray

from constyle_arch.data.degradations.degradation import Degradation, Quantity
from constyle_arch.images import FloatImage

KERNELS = ("gaussian", "generalized", "plateau")
RADII = {"choice": [3, 4, 5, 6, 7, 8, 9, 10]}
"""Of Real-ESRGAN's kernels, which are 7 to 21 pixels wide."""


class Blur(Degradation):
    """Blur by a kernel of Real-ESRGAN (arXiv 2107.10833, section 3.1), as BasicSR computes it.

    With d the distance from the middle in units of sigma, the kernel is exp(−d²/2) (`gaussian`),
    exp(−d^(2·beta)/2) (`generalized`: peaked for beta below 1, flat above) or 1 / (1 + d^(2·beta))
    (`plateau`).

    Args:
        sigma: width of the kernel in pixels.
        kernel: `gaussian`, `generalized` or `plateau`.
        isotropic: whether it is round; otherwise it has two widths, both drawn from `sigma`, in a
            random direction.
        beta: exponent of the last two kernels.
        radius: of the kernel in whole pixels, at least 1.
    """

    def __init__(
        self,
        sigma: Any = (0.2, 3),
        kernel: str = "gaussian",
        isotropic: bool = True,
        beta: Any = 1,
        radius: Any = RADII,
    ) -> None:
        if kernel not in KERNELS:
            raise ValueError(
                f"kernel is {kernel!r}; it must be {', '.join(KERNELS[:-1])} or {KERNELS[-1]}."
            )
        self.sigma = Quantity.parse(sigma, "sigma", lowest=0.01)
        self.kernel = kernel
        self.isotropic = isotropic
        self.beta = Quantity.parse(beta, "beta", lowest=0.01)
        self.radius = Quantity.parse(radius, "radius", lowest=1)
        self.margin = math.ceil(self.radius.largest)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Blur an image (H, W, C); beyond its border it is taken as mirrored."""
        side = 2 * round(self.radius.draw(rng)) + 1
        along = self.sigma.draw(rng)
        across, angle = along, 0.0
        if not self.isotropic:
            across, angle = self.sigma.draw(rng), rng.uniform(-np.pi, np.pi)
        if self.kernel == "gaussian":
            return filtered(image, bivariate_Gaussian(side, along, across, angle, isotropic=False))
        make = bivariate_generalized_Gaussian if self.kernel == "generalized" else bivariate_plateau
        kernel = make(side, along, across, angle, self.beta.draw(rng), isotropic=False)
        return filtered(image, kernel)


class Sinc(Degradation):
    """The ideal low-pass filter, cut off: edges ring, as after sharpening and compression.

    Source: Real-ESRGAN (arXiv 2107.10833, section 3.3).

    Args:
        cutoff: highest frequency that is kept, in radians a pixel; π is all.
        radius: of the kernel in whole pixels, at least 1.
    """

    def __init__(self, cutoff: Any = (1.05, 3.14), radius: Any = RADII) -> None:
        self.cutoff = Quantity.parse(cutoff, "cutoff", lowest=0.01, highest=math.pi)
        self.radius = Quantity.parse(radius, "radius", lowest=1)
        self.margin = math.ceil(self.radius.largest)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Filter an image (H, W, C) in [0, 1]; the result is clipped to it."""
        side = 2 * round(self.radius.draw(rng)) + 1
        return np.clip(filtered(image, circular_lowpass_kernel(self.cutoff.draw(rng), side)), 0, 1)


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


def filtered(image: FloatImage, kernel: NDArray[Any]) -> FloatImage:
    """An image (H, W, C), mirrored at its border, under a kernel (K, K), K odd."""
    result = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(result, np.float32).reshape(image.shape)
