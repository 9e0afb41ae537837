"""Noise: Gaussian, and that of few photons."""

from typing import Any

import cv2
import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation, Quantity
from constyle_arch.images import FloatImage, to_8_bit, to_float


class Noise(Degradation):
    """Additive white Gaussian noise, independent for each pixel and channel.

    With a fixed `sigma` and `RandomState(0)` on an RGB image this is the test noise of the
    denoising benchmarks (`np.random.seed(0)` before each image).

    Args:
        sigma: standard deviation in 1/255: a number, a range, or a choice.
        gray: share of the images whose noise is one for all channels, in [0, 1].
        clip: clip the sum to [0, 1], as files do; the literature of denoising does not.
    """

    def __init__(self, sigma: Any, gray: float = 0, clip: bool = False) -> None:
        self.sigma = Quantity.parse(sigma, "sigma")
        self.gray = _share(gray)
        self.clip = clip

    def __call__(
        self, image: FloatImage, rng: RandomState, field: RandomState | None = None
    ) -> FloatImage:
        """Add noise to an image (H, W, C) in [0, 1], drawn from `field`, or else `rng`."""
        sigma = self.sigma.draw(rng)
        shape = (*image.shape[:2], 1) if _happens(self.gray, rng) else image.shape
        noisy = (image + (field or rng).normal(0, sigma / 255, shape)).astype(np.float32)
        return np.clip(noisy, 0, 1) if self.clip else noisy


class PoissonNoise(Degradation):
    """The noise of few photons, stronger where an image is brighter, as in Real-ESRGAN.

    The image is rounded to 8 bits; of as many photons as it has different values (the next power of
    2), Poisson's law says how many arrive. The result is clipped to [0, 1].

    Args:
        scale: factor of the noise.
        gray: share of the images whose noise is one for all channels, in [0, 1].
    """

    def __init__(self, scale: Any = (0.05, 3), gray: float = 0) -> None:
        self.scale = Quantity.parse(scale, "scale")
        self.gray = _share(gray)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Add noise to an image (H, W, C), RGB or gray, in [0, 1]."""
        scale = self.scale.draw(rng)
        mean = image
        if _happens(self.gray, rng) and image.shape[2] == 3:
            mean = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)[..., None]
        mean = to_float(to_8_bit(mean))
        photons = 2.0 ** np.ceil(np.log2(len(np.unique(mean))))
        noise = rng.poisson(mean * photons) / photons - mean
        return np.clip(image + scale * noise, 0, 1).astype(np.float32)


def _share(gray: float) -> float:
    if not (isinstance(gray, int | float) and 0 <= gray <= 1):
        raise ValueError(f"gray is {gray!r}; it must be a number in [0, 1].")
    return float(gray)


def _happens(share: float, rng: RandomState) -> bool:
    """Whether it happens to this image, of a share; 0 and 1 use up no randomness."""
    return share == 1 or (share > 0 and rng.random_sample() < share)
