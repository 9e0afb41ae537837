"""Hazes the rooms of SOTS indoor again, and photographs as if they were such rooms.

The pretrained network `dehaze` was trained on the pairs that this writes:

  python -m benchmarks.rehaze datasets/SOTS-indoor/train datasets/CBSD432/original

SOTS indoor hazes a room J by Koschmieder's law with an airlight of 1, I = J·t + 1 − t, so
−log t = −log((1 − I) / (1 − J)) is the depth of each pixel, up to a factor. With it each room is
hazed again, in another density, tone and size, and each photograph under the depth of a room.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from constyle_arch.data.degradations.weather import add_haze
from constyle_arch.images import to_8_bit, to_float

Image = NDArray[Any]

DENSITIES = {k: (5 + k) / 6 for k in (1, 3, 5, 8, 10)}
"""How much denser than that of ROOM_1 the haze of ROOM_K is."""
VARIANTS = 16
"""Of each room."""
KNOWN = 0.02
"""How dark a pixel must be for its depth to be seen: the least |1 − J|²."""


def depth_of(clean: Image, hazy: Iterable[tuple[float, Image]]) -> Image:
    """Depth (H, W) of a room, in units of the thinnest haze's 1/β.

    Args:
        clean: the room J (H, W, 3) in [0, 1].
        hazy: the density and image of each of its hazy ones.
    """
    dark = 1 - clean
    squares = (dark**2).sum(-1)
    depths = [
        -np.log(np.clip(((1 - image) * dark).sum(-1) / np.maximum(squares, 1e-4), 0.01, 1)) / beta
        for beta, image in hazy
    ]
    known = (squares > KNOWN).astype(np.float32)
    depth, weight = np.median(np.stack(depths), 0).astype(np.float32) * known, known
    for sigma in (2, 8, 32, 128):  # white pixels take the depth of their surroundings
        near = cv2.GaussianBlur(weight, (0, 0), sigma)
        fill = cv2.GaussianBlur(depth, (0, 0), sigma) / np.maximum(near, 1e-6)
        hole = (weight == 0) & (near > 1e-3)
        depth, weight = np.where(hole, fill, depth), np.where(hole, 1, weight)
    return cv2.medianBlur(depth.astype(np.float32), 5)


def toned(clean: Image, rng: Generator) -> Image:
    """A room (H, W, 3) under another light."""
    curved = clean ** np.exp(rng.uniform(-0.3, 0.3))
    light = np.exp(rng.uniform(-0.25, 0.1)) * np.exp(rng.uniform(-0.08, 0.08, 3))
    return np.clip(curved * light, 0, 1).astype(np.float32)


def resized(image: Image, size: tuple[int, int], smooth: int) -> Image:
    """An image resized to `size` (W, H); `smooth` is how to interpolate where it grows."""
    shrinks = size[0] < image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else smooth)


def some_depth(depths: list[Image], rng: Generator) -> Image:
    """The depth of any room, or its mirror image."""
    return depths[rng.integers(len(depths))][:, :: rng.choice([-1, 1])]


def write_pair(folder: Path, name: str, clean: Image, optical: Image, airlight: float) -> None:
    """Write a clean image and the same with haze of `optical` depth β·d."""
    clean = to_8_bit(clean)
    hazy = to_8_bit(add_haze(to_float(clean), optical, 1, airlight))
    for side, image in (("gt", clean), ("lq", hazy)):
        path = folder / side / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)


def read(path: Path) -> Image:
    """An image (H, W, 3) in [0, 1]; its channels stay in OpenCV's order."""
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} is no image that OpenCV reads")
    return to_float(image)


def files(folder: Path) -> list[Path]:
    """The files of a folder by name."""
    found = sorted(path for path in folder.glob("*") if path.is_file())
    if not found:
        raise SystemExit(f"{folder} has no images; datasets/README.md says where they are from")
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", type=Path, help="the folder with `gt/ROOM` and `hazy/ROOM_K`")
    parser.add_argument("photographs", type=Path, help="a folder of clean photographs")
    parser.add_argument("--out", type=Path, default=Path("datasets/rehazed"))
    args = parser.parse_args()
    rng = np.random.default_rng(0)

    hazy = {path.stem: path for path in files(args.rooms / "hazy")}
    rooms = {path.stem: read(path) for path in files(args.rooms / "gt")}
    depths = {
        room: depth_of(clean, ((beta, read(hazy[f"{room}_{k}"])) for k, beta in DENSITIES.items()))
        for room, clean in rooms.items()
    }
    print(f"depth of {len(rooms)} rooms found")
    any_depth = [*depths.values()]
    for room, clean in rooms.items():
        for variant in range(VARIANTS):
            depth = depths[room] if rng.random() < 0.75 else some_depth(any_depth, rng)
            scale = rng.uniform(0.65, 1.25)
            size = int(clean.shape[1] * scale), int(clean.shape[0] * scale)
            other = np.clip(resized(toned(clean, rng), size, cv2.INTER_CUBIC), 0, 1)
            beta = rng.uniform(0.7, 2.8)
            optical = resized(depth, size, cv2.INTER_LINEAR) * beta
            write_pair(args.out / "rooms", f"{room}_{variant}", other, optical, 1)
    print(f"{len(rooms) * VARIANTS} pairs of rooms written")
    photographs = files(args.photographs)
    for path in photographs:
        clean = read(path)
        depth = cv2.resize(some_depth(any_depth, rng), clean.shape[1::-1])
        optical = depth * rng.uniform(0.6, 3)
        write_pair(args.out / "photographs", path.stem, clean, optical, rng.uniform(0.85, 1))
    print(f"{len(photographs)} pairs of photographs written to {args.out}")


if __name__ == "__main__":
    main()
