"""Too little light, and too little contrast."""

from typing import Any

import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation, Quantity
from constyle_arch.images import FloatImage


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
