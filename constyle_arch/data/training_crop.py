"""The random window of a training sample, and its flips and rotations."""

import random
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from basicsr.data.transforms import augment
from numpy.typing import NDArray

from constyle_arch.errors import DataError
from constyle_arch.images import size_of
from constyle_arch.options.data_sets import Crops

Array = TypeVar("Array", bound=NDArray[Any])


@dataclass(frozen=True)
class TrainingCrop:
    """Draws square windows and augments what is cut out of them, as its options say."""

    options: Crops

    @classmethod
    def from_options(cls, opt: dict[str, Any]) -> "TrainingCrop | None":
        """The crop that a data set's options describe; None for one that is not to train on.

        Raises:
            DataError: the options ask for another scale than 1.
        """
        check_scale(opt)
        return cls(Crops.read(opt)) if opt["phase"] == "train" else None

    def window(self, image: NDArray[Any], location: str) -> tuple[int, int]:
        """The top and left of a random window of `image`.

        Raises:
            DataError: the image, which lies at `location`, is smaller than the window.
        """
        (height, width), side = image.shape[:2], self.options.gt_size
        if min(height, width) < side:
            raise DataError(
                f"{location} is {size_of(image)} pixels, smaller than the crops of gt_size {side}."
            )
        return random.randint(0, height - side), random.randint(0, width - side)

    def cut(self, image: Array, top: int, left: int) -> Array:
        """The window of `image` whose corner is (top, left)."""
        side = self.options.gt_size
        return image[top : top + side, left : left + side]  # type: ignore[return-value]

    def augment(self, images: list[Array]) -> list[Array]:
        """Flip and rotate images of one window alike, as drawn."""
        copies = [np.array(image) for image in images]  # BasicSR flips in place
        augmented = augment(copies, self.options.use_hflip, self.options.use_rot)
        return augmented if len(copies) > 1 else [augmented]


def check_scale(opt: dict[str, Any]) -> None:
    """Refuse a data set of another scale than 1 with a DataError."""
    if opt.get("scale", 1) != 1:
        raise DataError(
            f"scale is {opt['scale']}; restoration keeps the size of an image, so it must be 1."
        )
