"""Pairs of degraded and clean images, from folders or LMDB."""

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.data.transforms import augment
from basicsr.utils import FileClient, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from constyle_arch.data.images import Image
from constyle_arch.data.pairing import image_files, lmdb_keys, match_names
from constyle_arch.errors import DataError


@DATASET_REGISTRY.register()
class PairedRestorationDataset(Dataset[dict[str, Tensor | str]]):
    """Degraded and clean images of equal size, matched by name.

    Folders are read recursively; two paths that end in `.lmdb` are read as BasicSR's LMDBs. An item holds `lq` and
    `gt` (3, H, W), RGB in [0, 1], with their `lq_path` and `gt_path`, and the degraded image's `name`.

    Options, besides BasicSR's `name`, `type`, `phase`:
        dataroot_lq, dataroot_gt: folders of the degraded and the clean images.
        lq_name, gt_name: forms of their names, see `pairing.match_names`. Default: `{}` for both.
        gt_size: side of the square crops, in pixels (training only).
        use_hflip, use_rot: flips, and rotations by 90 degrees (training only). Default: true.
        second_crop: add `lq_other`, another crop of the same degraded image (training only). Default: false.

    Raises:
        DataError: a folder is missing or empty, names do not match, a file cannot be decoded, a pair differs in
            size, or an image is smaller than the crop. The message names the option or the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        if opt.get("scale", 1) != 1:
            raise DataError(f"scale is {opt['scale']}; restoration keeps the size of an image, so it must be 1.")
        self.roots = {side: _existing_folder(opt, f"dataroot_{side}") for side in ("lq", "gt")}
        in_lmdb = [root.suffix == ".lmdb" for root in self.roots.values()]
        if any(in_lmdb) != all(in_lmdb):
            raise DataError(
                f"dataroot_lq {self.roots['lq']} and dataroot_gt {self.roots['gt']}: both or neither must end in .lmdb."
            )
        self.in_lmdb = all(in_lmdb)
        backend = (opt.get("io_backend") or {}).get("type")
        if backend and backend != ("lmdb" if self.in_lmdb else "disk"):
            raise DataError(
                f"io_backend.type is {backend!r}, but the folders are "
                f"{'LMDBs' if self.in_lmdb else 'no LMDBs'} by their names; leave io_backend out."
            )
        self.file_client: FileClient | None = None  # opened where it is used: an LMDB must not cross a fork

        locations = {side: self._locations(side) for side in self.roots}
        pairs = match_names(locations["lq"], locations["gt"], opt.get("lq_name", "{}"), opt.get("gt_name", "{}"))
        self.pairs = [(lq, locations["lq"][lq], locations["gt"][gt]) for lq, gt in pairs]

    def __len__(self) -> int:
        """How many degraded images there are."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """Read, and in training crop and augment, the pair at `index`."""
        name, lq_path, gt_path = self.pairs[index]
        lq, gt = self._read("lq", lq_path), self._read("gt", gt_path)
        if lq.shape != gt.shape:
            raise DataError(
                f"{self.roots['lq'] / lq_path} is {_size(lq)} but its clean partner "
                f"{self.roots['gt'] / gt_path} is {_size(gt)} pixels; a pair must be of one size."
            )
        images = {"lq": lq, "gt": gt}
        if self.opt["phase"] == "train":
            path = self.roots["lq"] / lq_path
            images = dict(zip(("lq", "gt"), self._augmented_crops([lq, gt], path), strict=True))
            if self.opt.get("second_crop", False):
                (images["lq_other"],) = self._augmented_crops([lq], path)
        tensors = {side: img2tensor(image.astype(np.float32) / 255) for side, image in images.items()}
        return {**tensors, "name": name, "lq_path": lq_path, "gt_path": gt_path}

    def _locations(self, side: str) -> dict[str, str]:
        """Where each image of a side lies, by its name: a path on disk or a key of the LMDB."""
        root = self.roots[side]
        if self.in_lmdb:
            locations = {key: key for key in lmdb_keys(root)}
        else:
            locations = {name: str(path) for name, path in image_files(root).items()}
        if not locations:
            raise DataError(f"{root} (option dataroot_{side}) holds no images.")
        return locations

    def _read(self, side: str, location: str) -> Image:
        """One image as (H, W, 3), BGR."""
        if self.file_client is None:
            self.file_client = self._open_file_client()
        content = self.file_client.get(location, side)
        if content is None:
            raise DataError(f"{self.roots[side]} holds no image under the key {location}.")
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        if image is None:
            raise DataError(f"{self.roots[side] / location} cannot be decoded as an image; it may be damaged.")
        return np.asarray(image, np.uint8)

    def _open_file_client(self) -> FileClient:
        if not self.in_lmdb:
            return FileClient("disk")
        return FileClient("lmdb", db_paths=[str(root) for root in self.roots.values()], client_keys=list(self.roots))

    def _augmented_crops(self, images: list[Image], path: Path) -> list[Image]:
        """One random window of all images, flipped and rotated alike."""
        size = self.opt["gt_size"]
        height, width = images[0].shape[:2]
        if min(height, width) < size:
            raise DataError(f"{path} is {_size(images[0])} pixels, smaller than the crops of gt_size {size}.")
        top, left = random.randint(0, height - size), random.randint(0, width - size)
        crops = [image[top : top + size, left : left + size].copy() for image in images]
        augmented = augment(crops, self.opt.get("use_hflip", True), self.opt.get("use_rot", True))
        return augmented if len(crops) > 1 else [augmented]


def _existing_folder(opt: dict[str, Any], option: str) -> Path:
    value = opt.get(option)
    if not value:
        raise DataError(f"{option} is missing; it names the folder or LMDB of the images.")
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"{option}: the folder {value} does not exist.")
    return folder


def _size(image: Image) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
