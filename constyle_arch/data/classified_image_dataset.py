"""Clean images of classes, and degraded ones: what ConStyle v2's first stage trains on."""

import random
import zlib
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from numpy.random import RandomState
from torch.utils.data import Dataset
from torchvision.transforms import RandomResizedCrop

from constyle_arch.data.degradations import build_degradations
from constyle_arch.data.degradations.degradation import in_turn
from constyle_arch.data.image_stores import images_at
from constyle_arch.data.training_crop import check_scale
from constyle_arch.errors import DataError
from constyle_arch.images import FloatImage, decode, to_float
from constyle_arch.options.data_sets import ClassifiedImages

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
"""Area of a random part, as a share of the image's, and width by height; as for ImageNet."""
SHORTER_SIDE = 256 / 224
"""The shorter side that an image to measure on is resized to, in sides of what is cut out."""


@DATASET_REGISTRY.register()
class ClassifiedImageDataset(Dataset[dict[str, Any]]):
    """Clean images from folders named for their classes, and parts degraded on the fly.

    In training `lq` is a random part of an image, resized and then degraded, and `gt` is another
    random part of it, resized. In validations both are the middle of the image, degraded alike each
    time.

    An item holds `lq` and `gt` (3, gt_size, gt_size), RGB, their `class`, and `name`, `lq_path`,
    `gt_path`. Classes are numbered in the order of their names, so data sets to train and to
    validate on must have the same.

    Its options are `ClassifiedImages` of `options.data_sets`.

    Raises:
        DataError: a folder is missing, an image is in no class, a degradation is not one there is,
            or a file cannot be decoded. The message names the option or the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        options = ClassifiedImages.read(opt)
        check_scale(opt)
        self.size, self.flips = options.gt_size, options.use_hflip
        self.degradations = build_degradations(options.degradations)
        images = images_at(options.dataroot_gt, "dataroot_gt")
        self.images = sorted(images, key=lambda image: image[1])
        outside = [store.location(name) for store, name in self.images if "/" not in name]
        if outside:
            raise DataError(
                f"dataroot_gt: {outside[0]} is in no folder of a class; put it into one named for "
                "its class."
            )
        self.classes = sorted({name.partition("/")[0] for _, name in self.images})

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read the image at `index`, cut and degrade it."""
        store, name = self.images[index]
        image = decode(store.read(name), store.location(name))
        if self.opt["phase"] == "train":
            # `random` has the sample's own seed, see `SeededDataset`
            rng = RandomState(random.getrandbits(32))
            lq, gt = self._random_part(image), self._random_part(image)
        else:
            rng = RandomState(zlib.crc32(name.encode(errors="surrogateescape")))
            lq = gt = self._middle(image)
        images = {"lq": in_turn(self.degradations, lq, rng), "gt": gt}
        tensors = {side: img2tensor(one, bgr2rgb=False) for side, one in images.items()}
        number, location = self.classes.index(name.partition("/")[0]), store.location(name)
        return {**tensors, "class": number, "name": name, "lq_path": location, "gt_path": location}

    def _random_part(self, image: Any) -> FloatImage:
        """A part of random size, shape and place, resized and perhaps flipped."""
        shape = torch.empty(1, *image.shape[:2])
        top, left, rows, columns = RandomResizedCrop.get_params(shape, list(AREA), list(ASPECT))
        part = image[top : top + rows, left : left + columns]
        if self.flips and random.random() < 0.5:
            part = part[:, ::-1]
        return _resized(part, self.size, self.size)

    def _middle(self, image: Any) -> FloatImage:
        """The middle, once the shorter side is a little longer than what is cut out."""
        height, width = image.shape[:2]
        scale = SHORTER_SIDE * self.size / min(height, width)
        resized = _resized(image, round(scale * height), round(scale * width))
        top, left = (resized.shape[0] - self.size) // 2, (resized.shape[1] - self.size) // 2
        return np.ascontiguousarray(resized[top : top + self.size, left : left + self.size])


def _resized(image: Any, height: int, width: int) -> FloatImage:
    """A BGR image at another size, RGB in [0, 1]."""
    smaller = height * width < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    rgb = np.ascontiguousarray(image[..., ::-1])
    resized = cv2.resize(rgb, (width, height), interpolation=interpolation)
    return to_float(resized)  # type: ignore[arg-type]  # of the type it had
