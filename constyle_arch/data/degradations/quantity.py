"""Numbers of an option file that are drawn for every image."""

import math
from dataclasses import dataclass
from typing import Any

from numpy.random import RandomState


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
