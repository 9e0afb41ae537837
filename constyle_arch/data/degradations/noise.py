"""Gaussian noise."""

from typing import Any

import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.quantity import Quantity
from constyle_arch.images import FloatImage


class Noise:
    """Additive white Gaussian noise, independent for each pixel and channel.

    The sum is not clipped to [0, 1], as in the literature. With a fixed `sigma` and `RandomState(0)` on an RGB image
    this is the test noise of the denoising benchmarks (`np.random.seed(0)` before each image).

    Args:
        sigma: standard deviation in 1/255: a number, a range, or a choice.
    """

    margin = 0

    def __init__(self, sigma: Any) -> None:
        self.sigma = Quantity.parse(sigma, "sigma")

    def __call__(self, image: FloatImage, rng: RandomState, field: RandomState | None = None) -> FloatImage:
        """Add noise to an image (H, W, C) in [0, 1]; its pixels are drawn from `field`, left out from `rng`."""
        sigma = self.sigma.draw(rng)
        return (image + (field or rng).normal(0, sigma / 255, image.shape)).astype(np.float32)
