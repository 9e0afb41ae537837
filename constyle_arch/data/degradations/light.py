"""Too little light and contrast, and noise: Gaussian, and that of few photons."""

from typing import Any

import cv2
import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation, Quantity
from constyle_arch.images import FloatImage, to_8_bit, to_float


class LowLight(Degradation):
    """A dark version: β·(α·J)^γ (Lv et al., arXiv 1908.00682).

    Dark photographs are noisy, too: put `noise` after it.

    Args:
        gamma: exponent γ, at least 1.
        alpha: exposure α, in [0, 1].
        beta: brightness β of white, in [0, 1].
    """

    def __init__(self, gamma: Any = (1.5, 5), alpha: Any = (0.9, 1), beta: Any = (0.5, 1)) -> None:
        self.gamma = Quantity.parse(gamma, "gamma", lowest=1)
        self.alpha = Quantity.parse(alpha, "alpha", highest=1)
        self.beta = Quantity.parse(beta, "beta", highest=1)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Darken an image (H, W, C) in [0, 1]."""
        gamma, alpha, beta = self.gamma.draw(rng), self.alpha.draw(rng), self.beta.draw(rng)
        return (beta * (alpha * np.clip(image, 0, 1)) ** gamma).astype(np.float32)


class Contrast(Degradation):
    """Values nearer to the channel's mean: (J − mean)·factor + mean (ImageNet-C, 1903.12261).

    ImageNet-C's severities 1 to 5 are factors of 0.4, 0.3, 0.2, 0.1 and 0.05.

    Args:
        factor: of the contrast, in [0, 1].
    """

    def __init__(self, factor: Any = (0.3, 0.6)) -> None:
        self.factor = Quantity.parse(factor, "factor", highest=1)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Flatten an image (H, W, C) in [0, 1], or a crop, around its own mean."""
        mean = image.mean(axis=(0, 1), keepdims=True)
        return np.clip((image - mean) * np.float32(self.factor.draw(rng)) + mean, 0, 1)


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
