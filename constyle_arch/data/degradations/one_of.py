"""A choice between degradations."""

from collections.abc import Sequence

from numpy.random import RandomState

from constyle_arch.data.degradations.degradation import Degradation, in_turn
from constyle_arch.images import FloatImage


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
