"""Degradations: what turns a clean image into one to restore, drawn for every image."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.random import RandomState

from constyle_arch.data.degradations.haze import Haze
from constyle_arch.data.degradations.motion_blur import MotionBlur
from constyle_arch.data.degradations.noise import Noise
from constyle_arch.data.degradations.rain import Rain
from constyle_arch.images import FloatImage

__all__ = ["DEGRADATIONS", "Degradation", "Haze", "MotionBlur", "Noise", "Rain", "build_degradation"]


class Degradation(Protocol):
    """Degrades an image (H, W, C), RGB in [0, 1], with the random numbers of `rng`."""

    margin: int
    """How many pixels around a crop decide what it looks like."""

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """The degraded image, of the same size."""


DEGRADATIONS: dict[str, type[Haze] | type[Rain] | type[MotionBlur] | type[Noise]] = {
    "haze": Haze,
    "rain": Rain,
    "motion_blur": MotionBlur,
    "noise": Noise,
}
"""The `type` of a degradation in an option file."""


def build_degradation(options: Mapping[str, Any]) -> Degradation:
    """The degradation that `options` describe: its `type`, and the quantities it draws.

    Raises:
        ValueError: there is no such type, or a quantity is out of its range.
        TypeError: the type has no such quantity, or needs one that is missing.
    """
    quantities = dict(options)
    kind = quantities.pop("type", None)
    if kind not in DEGRADATIONS:
        raise ValueError(f"type is {kind!r}; there are {', '.join(DEGRADATIONS)}.")
    return DEGRADATIONS[kind](**quantities)
