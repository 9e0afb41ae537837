"""What every degradation is and draws, and a choice between several."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import RandomState

from constyle_arch.images import FloatImage


@dataclass(frozen=True)
class Quantity:
    """A number that is drawn: always the same, uniformly from a range, or from a choice of numbers.

    Args:
        values: the number; the two ends of the range; or the choice.
        is_range: whether `values` are the ends of a range.
    """

    values: tuple[float, ...]
    is_range: bool

    @classmethod
    def parse(
        cls, value: Any, option: str, lowest: float = 0, highest: float = float("inf")
    ) -> "Quantity":
        """Read `25`, `[0, 50]` (uniform) or `{choice: [15, 25, 50]}`.

        Raises:
            ValueError: the value has none of these forms, or leaves [`lowest`, `highest`].
        """
        is_range = isinstance(value, list | tuple)
        numbers = value["choice"] if isinstance(value, dict) and set(value) == {"choice"} else value
        numbers = list(numbers) if isinstance(numbers, list | tuple) else [numbers]
        well_formed = bool(numbers) and all(
            isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n)
            for n in numbers
        )
        if not well_formed or (is_range and (len(numbers) != 2 or numbers[0] > numbers[1])):
            raise ValueError(
                f"{option} is {value!r}; it must be a number, a range [low, high] or {{choice: "
                "[one, another]}."
            )
        if not all(lowest <= number <= highest for number in numbers):
            raise ValueError(f"{option} is {value!r}; it must lie in [{lowest:g}, {highest:g}].")
        return cls(tuple(map(float, numbers)), is_range)

    @property
    def largest(self) -> float:
        """The largest number that can be drawn."""
        return max(self.values)

    def draw(self, rng: RandomState) -> float:
        """A number; a fixed one uses up no randomness."""
        if len(self.values) == 1:
            return self.values[0]
        if self.is_range:
            return float(rng.uniform(self.values[0], self.values[1]))
        return float(rng.choice(self.values))


class Degradation(ABC):
    """Degrades an image with random numbers that it is given, and nothing else."""

    margin: int = 0
    """How many pixels around a crop decide what it looks like."""
    grid: int = 1
    """A part that begins at multiples of it is degraded as within the whole image."""

    @abstractmethod
    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """The degraded version, of the same size, of an image (H, W, C), RGB in [0, 1]."""


def in_turn(degradations: list[Degradation], image: FloatImage, rng: RandomState) -> FloatImage:
    """Apply degradations one after the other."""
    for degradation in degradations:
        image = degradation(image, rng)
    return image


class OneOf(Degradation):
    """One of several lists of degradations, drawn by weight; an empty one changes nothing.

    Args:
        choices: the lists.
        weights: how often each is drawn, relative to the others. Default: equally often.
    """

    def __init__(
        self, choices: Sequence[Sequence[Degradation]], weights: Sequence[float] | None = None
    ) -> None:
        weights = [1.0] * len(choices) if weights is None else weights
        if not choices or len(weights) != len(choices) or not all(weight > 0 for weight in weights):
            raise ValueError(
                f"weights is {weights!r}; it must list a number above 0 for each of the choices."
            )
        self.choices = [list(choice) for choice in choices]
        self.shares = [weight / sum(weights) for weight in weights]
        self.margin = max(sum(one.margin for one in choice) for choice in self.choices)
        self.grid = max((one.grid for choice in self.choices for one in choice), default=1)

    def __call__(self, image: FloatImage, rng: RandomState) -> FloatImage:
        """Degrade an image (H, W, C) by the list that is drawn."""
        return in_turn(self.choices[rng.choice(len(self.choices), p=self.shares)], image, rng)
