"""Clean images, degraded as they are read."""

import random
import zlib
from collections import Counter
from typing import Any

import cv2
import numpy as np
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from numpy.random import RandomState
from torch import Tensor
from torch.utils.data import Dataset

from constyle_arch.data.degradations import build_degradations
from constyle_arch.data.degradations.degradation import in_turn
from constyle_arch.data.degradations.noise import Noise
from constyle_arch.data.holding_out import part_of
from constyle_arch.data.image_stores import ImageStore, images_at
from constyle_arch.data.training_crop import TrainingCrop
from constyle_arch.errors import DataError, listed
from constyle_arch.images import FloatImage, Image, decode, to_float
from constyle_arch.options.data_sets import DegradedImages


@DATASET_REGISTRY.register()
class DegradedImageDataset(Dataset[dict[str, Tensor | str]]):
    """Clean images from folders or LMDBs, and degraded versions of them made on the fly.

    In training every sample gets a degradation of its own. In validations and tests an image is
    always degraded alike, on every machine: the pixels of (the first) noise are drawn from
    `np.random.RandomState(0)` for each image, the convention of the denoising benchmarks; what else
    is drawn, a range of σ included, follows from the image's name.

    An item holds `lq` and `gt` (3, H, W), RGB, `gt` in [0, 1], with their `lq_path` and `gt_path`,
    and the `name`. Noise may carry `lq` out of [0, 1].

    Its options are `DegradedImages` and, in training, `Crops` of `options.data_sets`.

    Raises:
        DataError: a folder is missing or empty, a degradation is not one there is, a file cannot be
            decoded, or an image is smaller than the crop. The message names the option or the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        options = DegradedImages.read(opt)
        self.crop = TrainingCrop.from_options(opt)
        self.gray = options.color == "gray"
        self.degradations = build_degradations(options.degradations)
        images = images_at(options.dataroot_gt, "dataroot_gt")
        read = part_of(range(len(images)), options.hold_out, opt["phase"])
        self.images = [image for number, image in enumerate(images) if number in read]
        counts = Counter(name for _, name in self.images)
        twice = [name for name, count in counts.items() if count > 1]
        if twice and self.crop is None:  # their results would overwrite each other
            raise DataError(
                f"dataroot_gt: {len(twice)} names are in several of the places: {listed(twice)}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """Read, in training crop and augment, and degrade the image at `index`."""
        store, name = self.images[index]
        image = self._read(store, name)
        if self.crop:
            images = self._training_crops(self.crop, image, store.location(name))
        else:
            clean = to_float(image)
            images = {"lq": self._always_alike(clean, name), "gt": clean}
        colors = {side: np.repeat(one, 3 // one.shape[2], axis=2) for side, one in images.items()}
        tensors = {side: img2tensor(one, bgr2rgb=False) for side, one in colors.items()}
        location = store.location(name)
        return {**tensors, "name": name, "lq_path": location, "gt_path": location}

    def _read(self, store: ImageStore, name: str) -> Image:
        """An image (H, W, 3), RGB, or (H, W, 1), gray, at the depth it has."""
        image = decode(store.read(name), store.location(name))
        if self.gray:
            return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]  # type: ignore[return-value]
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def _always_alike(self, clean: FloatImage, name: str) -> FloatImage:
        """The degraded version of an image to measure on, by its name alone."""
        degraded, literature = clean, True
        for number, degradation in enumerate(self.degradations):
            rng = RandomState(zlib.crc32(f"{number}/{name}".encode(errors="surrogateescape")))
            if isinstance(degradation, Noise) and literature:
                degraded = degradation(degraded, rng, field=RandomState(0))
                literature = False
            else:
                degraded = degradation(degraded, rng)
        return degraded

    def _training_crops(
        self, crop: TrainingCrop, image: Image, location: str
    ) -> dict[str, FloatImage]:
        """A random window of a clean image, the same degraded, and perhaps another degraded.

        What lies around the windows, and between two of them, is degraded with them: both are of
        one degraded image.
        """
        # `random` has the sample's own seed, see `SeededDataset`
        rng = RandomState(random.getrandbits(32))
        corners = [crop.window(image, location)]
        if crop.options.second_crop:
            corners.append(crop.window(image, location))
        margin = sum(degradation.margin for degradation in self.degradations)
        rows, columns = zip(*corners, strict=True)
        grid = max(degradation.grid for degradation in self.degradations)
        top, left = (max(min(ends) - margin, 0) // grid * grid for ends in (rows, columns))
        bottom, right = (max(ends) + crop.options.gt_size + margin for ends in (rows, columns))
        clean = to_float(image[top:bottom, left:right])
        degraded = in_turn(self.degradations, clean, rng)
        row, column = rows[0] - top, columns[0] - left
        pair = crop.augment([crop.cut(one, row, column) for one in (clean, degraded)])
        crops = dict(zip(("gt", "lq"), pair, strict=True))
        for row, column in corners[1:]:
            (crops["lq_other"],) = crop.augment([crop.cut(degraded, row - top, column - left)])
        return {side: np.atleast_3d(one) for side, one in crops.items()}
