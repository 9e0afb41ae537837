"""Degradations: what turns a clean image into one to restore, drawn for every image."""

from collections.abc import Mapping, Sequence
from typing import Any

from constyle_arch.data.degradations.blur import Blur, MotionBlur, Sinc
from constyle_arch.data.degradations.degradation import Degradation, OneOf
from constyle_arch.data.degradations.jpeg import Jpeg
from constyle_arch.data.degradations.light import Contrast, LowLight
from constyle_arch.data.degradations.noise import Noise, PoissonNoise
from constyle_arch.data.degradations.real_esrgan import RealESRGAN
from constyle_arch.data.degradations.resize import Resize
from constyle_arch.data.degradations.weather import Haze, Rain, Snow
from constyle_arch.errors import DataError

DEGRADATIONS: dict[str, type[Degradation]] = {
    "haze": Haze,
    "rain": Rain,
    "snow": Snow,
    "low_light": LowLight,
    "contrast": Contrast,
    "motion_blur": MotionBlur,
    "blur": Blur,
    "sinc": Sinc,
    "resize": Resize,
    "noise": Noise,
    "poisson_noise": PoissonNoise,
    "jpeg": Jpeg,
    "real_esrgan": RealESRGAN,
    "one_of": OneOf,
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
    if kind == "one_of":
        choices: Any = quantities.get("choices")
        if not _is_list_of(list, choices) or not all(_is_list_of(dict, one) for one in choices):
            raise ValueError(
                f"choices is {choices!r}; it must list lists such as [{{type: noise, sigma: 25}}]."
            )
        quantities["choices"] = [list(map(build_degradation, choice)) for choice in choices]
    return DEGRADATIONS[kind](**quantities)


def build_degradations(options: Sequence[Mapping[str, Any]]) -> list[Degradation]:
    """The degradations of a data set's option `degradations`, to be applied in turn.

    Raises:
        DataError: there are none, or one of them cannot be built; the message says which.
    """
    if not options:
        raise DataError(
            f"degradations is {options!r}; it must be a list such as [{{type: noise, sigma: 25}}]."
        )
    degradations = []
    for number, one in enumerate(options, start=1):
        try:
            degradations.append(build_degradation(one))
        except (ValueError, TypeError) as error:
            raise DataError(f"degradations, number {number}: {error}") from error
    return degradations


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, kind) for one in value)
