"""Haze: the atmospheric scattering model, and depth maps to haze a photograph with."""

from typing import Any

import cv2
import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from constyle_arch.data.degradations.degradation import Degradation
from constyle_arch.data.degradations.quantity import Quantity
from constyle_arch.images import FloatImage


class Haze(Degradation):
    """Haze over a smooth random depth map, see `add_haze` and `smooth_depth`.

    Args:
        beta: scattering coefficient β, at least 0.
        airlight: brightness A of the haze, in [0, 1].
    """

    def __init__(self, beta: Any = (0.8, 1.8), airlight: Any = (0.75, 0.95)) -> None:
        self.beta = Quantity.parse(beta, "beta")
        self.airlight = Quantity.parse(airlight, "airlight", highest=1)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Haze an image (H, W, C) in [0, 1]; the result lies there too."""
        beta, airlight = self.beta.draw(rng), self.airlight.draw(rng)
        return add_haze(image, smooth_depth(image.shape[0], image.shape[1], rng), beta, airlight)


def add_haze(clean: FloatImage, depth: FloatImage, beta: float, airlight: float) -> FloatImage:
    """Koschmieder's law, as RESIDE uses it: I = J·t + A·(1 − t) with t = exp(−β·depth).

    Args:
        clean: the photograph J (H, W, 3), values in [0, 1].
        depth: distance of each pixel (H, W), in units of 1/β.
        beta: scattering coefficient β, at least 0.
        airlight: brightness A of the haze, in [0, 1].

    Returns:
        The hazy image I (H, W, 3), values in [0, 1].
    """
    transmission = np.exp(-beta * depth, dtype=np.float32)[..., None]
    return clean * transmission + np.float32(airlight) * (1 - transmission)


def smooth_depth(height: int, width: int, rng: RandomState) -> FloatImage:
    """A smooth random depth map (height, width) in [0.3, 1]: far at the top, hilly."""
    rise = np.linspace(1, 0, height, dtype=np.float32)[:, None] * rng.uniform(0.5, 1)
    coarse = rng.random_sample((4, 4)).astype(np.float32)
    hills = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return _scaled(rise + rng.uniform(0.3, 0.8) * np.asarray(hills))


def depth_from_disparity(disparity: FloatImage) -> FloatImage:
    """Depth (H, W) in [0.3, 1] of a stereo view: 1 / `disparity`, non-finite holes filled."""
    holes = ~np.isfinite(disparity)
    depth = _scaled(1 / np.where(holes, disparity[~holes].max(), disparity))
    filled = cv2.inpaint(
        np.round(255 * depth).astype(np.uint8), holes.astype(np.uint8), 5, cv2.INPAINT_TELEA
    )
    return np.asarray(cv2.medianBlur(filled, 5), np.float32) / np.float32(255)


def _scaled(depth: NDArray[Any]) -> FloatImage:
    low, high = float(depth.min()), float(depth.max())
    return (0.3 + 0.7 * (depth - low) / max(high - low, 1e-6)).astype(np.float32)
