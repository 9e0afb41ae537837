"""The random window of a training sample, and its flips and rotations."""

import random
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from basicsr.data.transforms import augment
from numpy.typing import NDArray

from constyle_arch.errors import DataError
from constyle_arch.images import size_of

Array = TypeVar("Array", bound=NDArray[Any])


@dataclass(frozen=True)
class TrainingCrop:
    """Draws square windows and augments what is cut out of them.

    Args:
        size: side of a window in pixels (`gt_size`).
        flips: whether to flip left and right (`use_hflip`).
        rotations: whether to rotate by multiples of 90 degrees (`use_rot`).
    """

    size: int
    flips: bool = True
    rotations: bool = True

    @classmethod
    def from_options(cls, opt: dict[str, Any]) -> "TrainingCrop | None":
        """The crop that a data set's options describe; None for one that is not to train on.

        Raises:
            DataError: the options ask for another scale than 1.
        """
        if opt.get("scale", 1) != 1:
            raise DataError(
                f"scale is {opt['scale']}; restoration keeps the size of an image, so it must be 1."
            )
        if opt["phase"] != "train":
            return None
        return cls(opt["gt_size"], opt.get("use_hflip", True), opt.get("use_rot", True))

    def window(self, image: NDArray[Any], location: str) -> tuple[int, int]:
        """The top and left of a random window of `image`.

        Raises:
            DataError: the image, which lies at `location`, is smaller than the window.
        """
        height, width = image.shape[:2]
        if min(height, width) < self.size:
            raise DataError(
                f"{location} is {size_of(image)} pixels, smaller than the crops of gt_size "
                f"{self.size}."
            )
        return random.randint(0, height - self.size), random.randint(0, width - self.size)

    def cut(self, image: Array, top: int, left: int) -> Array:
        """The window of `image` whose corner is (top, left)."""
        return image[top : top + self.size, left : left + self.size]  # type: ignore[return-value]

    def augment(self, images: list[Array]) -> list[Array]:
        """Flip and rotate images of one window alike, as drawn."""
        copies = [np.array(image) for image in images]  # BasicSR flips in place
        augmented = augment(copies, self.flips, self.rotations)
        return augmented if len(copies) > 1 else [augmented]
