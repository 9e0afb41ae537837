"""The photographs of the evidence, prepared once as BMP files, which decode in no time, and
split.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import cv2
from tqdm import tqdm

from constyle_arch.images import SUFFIXES, decode

TEST_ROOMS = 9
"""Of the 37 rooms of SOTS indoor; the first in the order of their names train."""


def prepare(source: Path, target: Path) -> None:
    """Convert the data sets below `source` into `target`; what is there stays.

    Args:
        source: holds `cbsd432`, `cbsd68`, `rain100l/{train,test}/{lq,gt}` and
            `sots_indoor/{lq,gt}`.
        target: gets `noise/{train,test}`, `rain/{train,test}/{lq,gt}`, `haze/{train,test}/{lq,gt}`
            and `clean`, the photographs of `noise/train` that are no ground truth of `rain/test`.
    """
    _convert(images(source / "cbsd432"), target / "noise" / "train")
    _convert(images(source / "cbsd68"), target / "noise" / "test")
    for part in ("train", "test"):
        for side in ("lq", "gt"):
            _convert(images(source / "rain100l" / part / side), target / "rain" / part / side)
    rooms = sorted(path.stem for path in images(source / "sots_indoor" / "gt"))
    for part, chosen in (("train", set(rooms[:-TEST_ROOMS])), ("test", set(rooms[-TEST_ROOMS:]))):
        for side in ("lq", "gt"):
            files = images(source / "sots_indoor" / side)
            _convert(
                [file for file in files if file.stem.split("_")[0] in chosen],
                target / "haze" / part / side,
            )
    tested = {_digest(path) for path in images(source / "rain100l" / "test" / "gt")}
    _convert(
        [path for path in images(source / "cbsd432") if _digest(path) not in tested],
        target / "clean",
    )


def images(folder: Path) -> list[Path]:
    """The image files in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _convert(files: Iterable[Path], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    missing = [path for path in files if not (target / f"{path.stem}.bmp").exists()]
    for path in tqdm(missing, desc=str(target), unit="image", disable=None):
        cv2.imwrite(str(target / f"{path.stem}.bmp"), decode(path.read_bytes(), path))
