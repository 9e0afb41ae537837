"""Real-ESRGAN's degradations, for photographs whose past nobody knows."""

import math

import numpy as np
from basicsr.utils.img_process_util import usm_sharp
from numpy.random import RandomState

from constyle_arch.data.degradations.blur import Blur, Sinc
from constyle_arch.data.degradations.degradation import Degradation, OneOf
from constyle_arch.data.degradations.jpeg import Jpeg
from constyle_arch.data.degradations.noise import Noise, PoissonNoise
from constyle_arch.data.degradations.resize import INTERPOLATIONS, resized
from constyle_arch.images import FloatImage

Range = tuple[float, float]

GRAY_NOISE = 0.4
"""Share of the noise that is one for all colours."""
NARROW, WIDE = {"choice": [3, 4, 5]}, {"choice": [6, 7, 8, 9, 10]}
"""Radii of the sinc filters; wide ones take more away."""


class RealESRGAN(Degradation):
    """The second-order chain of Real-ESRGAN (arXiv 2107.10833, section 3) as published.

    Blur, resizing, Gaussian or Poisson noise and JPEG, and all of it once more, milder; a sinc
    filter before or after the last JPEG. What is degraded is the sharpened image, as there; the
    result has the size there was.

    Args:
        sharpen: sharpen the image first (unsharp masking).
    """

    margin = 64
    """The chain reaches further, but hardly; Real-ESRGAN cuts 256 pixels out of 400."""
    grid = 16

    def __init__(self, sharpen: bool = True) -> None:
        self.sharpen = sharpen
        self.first_blur = _blur(sigma=(0.2, 3))
        self.second_blur = OneOf([[_blur(sigma=(0.2, 1.5))], []], [0.8, 0.2])
        self.first_noise = _noise(sigma=(1, 30), poisson=(0.05, 3))
        self.second_noise = _noise(sigma=(1, 25), poisson=(0.05, 2.5))
        self.jpeg = Jpeg((30, 95))
        self.last_sinc = OneOf([[Sinc((math.pi / 3, math.pi))], []], [0.8, 0.2])

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Degrade an image (H, W, C) in [0, 1]; the result lies there too."""
        height, width = image.shape[:2]
        if self.sharpen:
            sharp = usm_sharp(image.squeeze(2) if image.shape[2] == 1 else image)
            image = np.asarray(sharp, np.float32).reshape(image.shape)
        image = self.first_blur(image, rng)
        image = _resize(image, height, width, _scale(rng, [0.2, 0.7, 0.1], (0.15, 1.5)), rng)
        image = self.jpeg(self.first_noise(image, rng), rng)
        image = self.second_blur(image, rng)
        image = _resize(image, height, width, _scale(rng, [0.3, 0.4, 0.3], (0.3, 1.2)), rng)
        image = self.second_noise(image, rng)
        if rng.random_sample() < 0.5:
            image = self.last_sinc(_resize(image, height, width, 1, rng), rng)
            return self.jpeg(image, rng)
        return self.last_sinc(_resize(self.jpeg(image, rng), height, width, 1, rng), rng)


def _blur(sigma: Range) -> OneOf:
    """One of Real-ESRGAN's seven kernels; beta is drawn below 1 as often as above."""
    kernels: list[tuple[float, Degradation]] = [
        (0.1 * 3 / 8, Sinc((math.pi / 3, math.pi), NARROW)),
        (0.1 * 5 / 8, Sinc((math.pi / 5, math.pi), WIDE)),
        (0.9 * 0.45, Blur(sigma)),
        (0.9 * 0.25, Blur(sigma, isotropic=False)),
    ]
    for isotropic, share in ((True, 0.9 * 0.12), (False, 0.9 * 0.03)):
        for beta in ((0.5, 1), (1, 4)):
            kernels.append((share / 2, Blur(sigma, "generalized", isotropic, beta)))
        for beta in ((1, 1), (1, 2)):
            kernels.append((share / 2, Blur(sigma, "plateau", isotropic, beta)))
    weights, choices = zip(*kernels, strict=True)
    return OneOf([[choice] for choice in choices], weights)


def _noise(sigma: Range, poisson: Range) -> OneOf:
    return OneOf([[Noise(sigma, GRAY_NOISE, clip=True)], [PoissonNoise(poisson, GRAY_NOISE)]])


def _scale(rng: RandomState, shares: list[float], extremes: Range) -> float:
    """A factor above 1, below 1 or 1, with these shares."""
    low, high = extremes
    return float(rng.choice([rng.uniform(1, high), rng.uniform(low, 1), 1], p=shares))


def _resize(
    image: FloatImage, height: int, width: int, scale: float, rng: RandomState
) -> FloatImage:
    """An image at `scale` times a height and width."""
    interpolation = list(INTERPOLATIONS)[rng.randint(len(INTERPOLATIONS))]
    return resized(image, round(scale * height), round(scale * width), interpolation)
