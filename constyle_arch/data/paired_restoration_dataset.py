"""Pairs of degraded and clean images, from folders or LMDB."""

from typing import Any

import numpy as np
import torch
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from constyle_arch.data.holding_out import part_of
from constyle_arch.data.image_stores import ImageLmdb, open_store
from constyle_arch.data.pairing import match_names
from constyle_arch.data.training_crop import TrainingCrop
from constyle_arch.errors import DataError
from constyle_arch.images import Image, decode, size_of, to_float


@DATASET_REGISTRY.register()
class PairedRestorationDataset(Dataset[dict[str, Tensor | str]]):
    """Degraded and clean images of equal size, matched by name.

    Each side is a folder or an LMDB, see `image_stores`. An item holds `lq` and `gt` (3, H, W), RGB in [0, 1], with
    their `lq_path` and `gt_path`, and the degraded image's `name`.

    Its options are `PairedImages` and, in training, `Crops` of `options.data_sets`.

    Raises:
        DataError: a folder is missing or empty, names do not match, a file cannot be decoded, a pair differs in
            size, or an image is smaller than the crop. The message names the option or the file.
    """

    integers = False
    """Hand images of 8 bits on as they are, uint8: a quarter of the bytes, for a model that converts on its device."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.crop = TrainingCrop.from_options(opt)
        self.stores = {side: open_store(opt.get(f"dataroot_{side}"), f"dataroot_{side}") for side in ("lq", "gt")}
        backend = (opt.get("io_backend") or {}).get("type")
        for side, store in self.stores.items():
            found = "lmdb" if isinstance(store, ImageLmdb) else "disk"
            if backend and backend != found:
                raise DataError(
                    f"io_backend.type is {backend!r}, but dataroot_{side} is {found} by its name; leave io_backend out."
                )
        lq_names, gt_names = self.stores["lq"].names, self.stores["gt"].names
        pairs = match_names(lq_names, gt_names, opt.get("lq_name") or "{}", opt.get("gt_name") or "{}")
        read = part_of(sorted({clean for _, clean in pairs}), opt)
        self.pairs = [pair for pair in pairs if pair[1] in read]

    def __len__(self) -> int:
        """How many degraded images there are."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """Read, and in training crop and augment, the pair at `index`."""
        names = dict(zip(("lq", "gt"), self.pairs[index], strict=True))
        paths = {side: self.stores[side].location(name) for side, name in names.items()}
        images = {side: decode(self.stores[side].read(name), paths[side]) for side, name in names.items()}
        if images["lq"].shape != images["gt"].shape:
            raise DataError(
                f"{paths['lq']} is {size_of(images['lq'])} but its clean partner {paths['gt']} is "
                f"{size_of(images['gt'])} pixels; a pair must be of one size."
            )
        if self.crop:
            images = self._training_crops(self.crop, images, paths["lq"])
        tensors = {side: self._tensor(image) for side, image in images.items()}
        return {**tensors, "name": names["lq"], "lq_path": paths["lq"], "gt_path": paths["gt"]}

    def _tensor(self, image: Image) -> Tensor:
        if self.integers and image.dtype == np.uint8:
            return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
        return img2tensor(to_float(image))

    def _training_crops(self, crop: TrainingCrop, images: dict[str, Image], lq_path: str) -> dict[str, Image]:
        """A random window of both images, flipped and rotated alike, and perhaps another of the degraded one."""
        corner = crop.window(images["lq"], lq_path)
        crops = dict(zip(images, crop.augment([crop.cut(image, *corner) for image in images.values()]), strict=True))
        if self.opt.get("second_crop", False):
            corner = crop.window(images["lq"], lq_path)
            (crops["lq_other"],) = crop.augment([crop.cut(images["lq"], *corner)])
        return crops
