"""What every degradation is."""

from abc import ABC, abstractmethod

from numpy.random import RandomState

from constyle_arch.images import FloatImage


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
