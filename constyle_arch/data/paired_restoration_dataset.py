"""Pairs of degraded and clean images, from folders or LMDB."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from constyle_arch.data.holding_out import part_of
from constyle_arch.data.image_stores import ImageFolder, ImageLmdb, open_store
from constyle_arch.data.pairing import compare_names, match_names
from constyle_arch.data.training_crop import TrainingCrop
from constyle_arch.errors import DataError, listed
from constyle_arch.files import cause_of
from constyle_arch.images import Image, decode, size_of, to_float
from constyle_arch.options.data_sets import PairedImages


@DATASET_REGISTRY.register()
class PairedRestorationDataset(Dataset[dict[str, Tensor | str]]):
    """Degraded and clean images of equal size, matched by name.

    Each side is a folder or an LMDB, see `image_stores`. An item holds `lq` and `gt` (3, H, W), RGB
    in [0, 1], with their `lq_path` and `gt_path`, and the degraded image's `name`.

    Its options are `PairedImages` and, in training, `Crops` of `options.data_sets`.

    Raises:
        DataError: a folder is missing or empty, names do not match, a file cannot be decoded, a
            pair differs in size, or an image is smaller than the crop. The message names the option
            or the file.
    """

    integers = False
    """Keep uint8 images as they are, a quarter of the bytes, for a model that converts them."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        options = PairedImages.read(opt)
        self.crop = TrainingCrop.from_options(opt)
        roots = {"lq": options.dataroot_lq, "gt": options.dataroot_gt}
        self.stores = {side: open_store(root, f"dataroot_{side}") for side, root in roots.items()}
        backend = (options.io_backend or {}).get("type")
        for side, store in self.stores.items():
            found = "lmdb" if isinstance(store, ImageLmdb) else "disk"
            if backend and backend != found:
                raise DataError(
                    f"io_backend.type is {backend!r}, but dataroot_{side} is {found} by its name; "
                    "leave io_backend out."
                )
        pairs = self._matched(options)
        read = part_of(sorted({clean for _, clean in pairs}), options.hold_out, opt["phase"])
        self.pairs = [pair for pair in pairs if pair[1] in read]

    def _matched(self, options: PairedImages) -> list[tuple[str, str]]:
        """The pairs of names, of all images or of those that `meta_info_file` lists."""
        lq_names, gt_names = self.stores["lq"].names, self.stores["gt"].names
        lq_name = options.lq_name
        if "lq_name" not in options.model_fields_set and isinstance(self.stores["lq"], ImageFolder):
            lq_name = options.filename_tmpl
        forms, file = (lq_name, options.gt_name), options.meta_info_file
        if file is None:
            return match_names(lq_names, gt_names, *forms)
        wanted = _names_in(file)
        matching = compare_names(lq_names, gt_names, *forms)
        pairs = [pair for pair in matching.pairs if pair[1] in wanted]
        if missing := sorted(wanted - {clean for _, clean in pairs}):
            raise DataError(
                f"meta_info_file: {len(missing)} images that {file} lists are not in dataroot_gt, "
                f"or not in dataroot_lq by lq_name {forms[0]!r}: {listed(missing)}."
            )
        return pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """Read, and in training crop and augment, the pair at `index`."""
        names = dict(zip(("lq", "gt"), self.pairs[index], strict=True))
        paths = {side: self.stores[side].location(name) for side, name in names.items()}
        contents = {side: self.stores[side].read(name) for side, name in names.items()}
        images = {side: decode(content, paths[side]) for side, content in contents.items()}
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

    def _training_crops(
        self, crop: TrainingCrop, images: dict[str, Image], lq_path: str
    ) -> dict[str, Image]:
        """A window of both images, augmented alike, and perhaps another of the degraded one."""
        corner = crop.window(images["lq"], lq_path)
        windows = [crop.cut(image, *corner) for image in images.values()]
        crops = dict(zip(images, crop.augment(windows), strict=True))
        if crop.options.second_crop:
            corner = crop.window(images["lq"], lq_path)
            (crops["lq_other"],) = crop.augment([crop.cut(images["lq"], *corner)])
        return crops


def _names_in(file: str) -> set[str]:
    """The names, without suffix, in BasicSR's list: `0001_s001.png (480,480,3)` a line."""
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"meta_info_file: {file} cannot be read: {cause_of(error)}.") from error
    return {line.rsplit(" (", 1)[0].strip().rsplit(".", 1)[0] for line in lines if line.strip()}
