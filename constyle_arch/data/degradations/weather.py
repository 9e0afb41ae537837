"""Rain, snow and haze; and depth maps to haze a photograph with."""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from constyle_arch.data.degradations.blur import path_kernel
from constyle_arch.data.degradations.degradation import Degradation, Quantity
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
        enlarged = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        field = np.asarray(enlarged, np.float32)
        flakes = np.clip(np.where(field < severity.threshold, 0, field), 0, 1)
        kernel = falling_kernel(severity.radius, severity.sigma, rng.uniform(-135, -45))
        smeared = cv2.filter2D(flakes, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        flakes = np.asarray(smeared, np.float32)
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
    direction = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    rows, columns = (np.ceil(steps * part - 0.5).astype(int) for part in direction)
    np.add.at(kernel, (reach + rows, reach + columns), np.exp(-(steps**2) / (2 * sigma**2)))
    return kernel / kernel.sum()


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
        clean: the photograph J (H, W, C) in [0, 1], where the hazy one I lies too.
        depth: distance of each pixel (H, W), in units of 1/β.
        beta: scattering coefficient β, at least 0.
        airlight: brightness A of the haze, in [0, 1].
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
    gray, mask = np.round(255 * depth).astype(np.uint8), holes.astype(np.uint8)
    filled = cv2.inpaint(gray, mask, 5, cv2.INPAINT_TELEA)
    return np.asarray(cv2.medianBlur(filled, 5), np.float32) / np.float32(255)


def _scaled(depth: NDArray[Any]) -> FloatImage:
    low, high = float(depth.min()), float(depth.max())
    return (0.3 + 0.7 * (depth - low) / max(high - low, 1e-6)).astype(np.float32)
