"""Falling snow."""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation
from constyle_arch.data.degradations.quantity import Quantity
from constyle_arch.images import FloatImage


class Severity(NamedTuple):
    """What a severity of ImageNet-C's snow consists of.

    `mean` and `deviation` are those of the flakes' field, which is enlarged `zoom` times; flakes
    are where it is above `threshold`. They are smeared over `radius` pixels with weights of a
    Gaussian of `sigma` pixels. `kept` is the share of the image that is not whitened.
    """

    mean: float
    deviation: float
    zoom: float
    threshold: float
    radius: int
    sigma: float
    kept: float


SEVERITIES = (
    Severity(0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    Severity(0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    Severity(0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    Severity(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    Severity(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)


class Snow(Degradation):
    """ImageNet-C's snow (arXiv 1903.12261): the image is whitened, smeared flakes are added.

    Flakes have a size in pixels, made for images of 224 pixels.

    Args:
        severity: a whole number from 1 to 5.
    """

    def __init__(self, severity: Any = 2) -> None:
        self.severity = Quantity.parse(severity, "severity", lowest=1, highest=len(SEVERITIES))

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Let it snow on an image (H, W, C), RGB or gray, in [0, 1]; the result lies there too."""
        severity = SEVERITIES[round(self.severity.draw(rng)) - 1]
        height, width = image.shape[:2]
        coarse = math.ceil(height / severity.zoom), math.ceil(width / severity.zoom)
        field = rng.normal(severity.mean, severity.deviation, coarse).astype(np.float32)
        field = np.asarray(
            cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
        )
        flakes = np.clip(np.where(field < severity.threshold, 0, field), 0, 1)
        kernel = falling_kernel(severity.radius, severity.sigma, rng.uniform(-135, -45))
        flakes = np.asarray(
            cv2.filter2D(flakes, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32
        )
        gray = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        whitened = severity.kept * image + (1 - severity.kept) * np.maximum(image, 1.5 * gray + 0.5)
        return np.clip(whitened + (flakes + np.rot90(flakes, 2))[..., None], 0, 1, dtype=np.float32)


def falling_kernel(radius: int, sigma: float, angle: float) -> FloatImage:
    """ImageMagick's motion blur, (4·radius + 1) pixels square, which sums to 1.

    It is the half of a Gaussian that begins in the middle and goes 2·radius pixels in the direction
    of `angle`, in degrees.
    """
    reach = 2 * radius
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.arange(reach + 1)
    rows, columns = (
        np.ceil(steps * part - 0.5).astype(int)
        for part in (math.sin(math.radians(angle)), math.cos(math.radians(angle)))
    )
    np.add.at(kernel, (reach + rows, reach + columns), np.exp(-(steps**2) / (2 * sigma**2)))
    return kernel / kernel.sum()
