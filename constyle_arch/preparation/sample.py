"""A small dehazing data set from the photographs in scikit-image's wheel."""

import shutil
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import cv2
import lmdb
import numpy as np
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from tqdm import tqdm

from constyle_arch.data.haze import add_haze, depth_from_disparity, smooth_depth
from constyle_arch.data.images import FloatImage, Image
from constyle_arch.errors import UserError

TRAIN_PHOTOGRAPHS = (
    "astronaut.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
)
TEST_PHOTOGRAPHS = ("chelsea.png", "coffee.png")
STEREO_PAIR = ("motorcycle_left.png", "motorcycle_right.png")

SHORT_SIDE = 256
"""Photographs are reduced to this many pixels on their shorter side, so that a crop shows much of a scene."""

CHANNEL_ORDERS = ["".join(order) for order in permutations("rgb")]
"""Haze has no colour, so a training photograph with its channels exchanged is as good as another photograph."""

HAZES_PER_TRAIN_IMAGE = 4
HAZES_PER_TEST_IMAGE = 3
BETA = (0.8, 1.8)
AIRLIGHT = (0.75, 0.95)
SEED = 0


def prepare_sample(output: str) -> None:
    """Write the sample below `output`, or say that it is there already.

    `dehaze/train` and `dehaze/test` hold the folders `hazy` and `clean`; `dehaze/train_hazy.lmdb` and
    `dehaze/train_clean.lmdb` hold the training pairs again. A hazy image is named after its clean one, its airlight
    and its β, as in RESIDE. The folder appears under its name once it is complete.

    Raises:
        UserError: scikit-image is not installed, or `output` cannot be written.
    """
    finished = Path(output) / "dehaze"
    if finished.exists():
        print(f"{finished} is there already; remove it to make it anew.")
        return
    photographs = _photograph_folder()
    unfinished = finished.with_name("dehaze.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    rng = np.random.default_rng(SEED)
    try:
        unfinished.mkdir(parents=True)
        train, test = unfinished / "train", unfinished / "test"
        _write_hazed(photographs, TRAIN_PHOTOGRAPHS, CHANNEL_ORDERS, HAZES_PER_TRAIN_IMAGE, train, rng)
        _write_hazed(photographs, TEST_PHOTOGRAPHS, ["rgb"], HAZES_PER_TEST_IMAGE, test, rng)
        for kind in ("hazy", "clean"):
            _write_lmdb(unfinished / "train" / kind, unfinished / f"train_{kind}.lmdb")
        unfinished.rename(finished)
    except (OSError, lmdb.Error) as error:
        raise UserError(f"The sample cannot be written to {finished}: {error}") from error
    print(f"The sample is in {finished}.")


def _photograph_folder() -> Path:
    try:
        import skimage
    except ImportError as error:
        raise UserError(
            "The sample's photographs come with scikit-image: pip install 'constyle-arch[sample]'."
        ) from error
    return Path(skimage.__file__).parent / "data"


def _write_hazed(
    photographs: Path, names: Sequence[str], orders: Sequence[str], hazes: int, folder: Path, rng: np.random.Generator
) -> None:
    """Write each photograph, once in each order of its channels, and `hazes` hazy versions of each."""
    for kind in ("hazy", "clean"):
        (folder / kind).mkdir(parents=True)
    for name in tqdm(names, desc=f"hazing {folder.name} photographs", unit="photograph"):
        photograph = _reduced(_read(photographs / name))
        for order in orders:
            clean = photograph[..., ["bgr".index(channel) for channel in reversed(order)]]
            stem = Path(name).stem if order == "rgb" else f"{Path(name).stem}-{order}"
            _write(folder / "clean" / f"{stem}.png", clean)
            for _ in range(hazes):
                depth = _depth(photographs, name, clean, rng)
                beta, airlight = rng.uniform(*BETA), rng.uniform(*AIRLIGHT)
                hazy = add_haze(clean.astype(np.float32) / np.float32(255), depth, beta, airlight)
                quantised = np.round(255 * hazy).astype(np.uint8)
                _write(folder / "hazy" / f"{stem}_{airlight:.3f}_{beta:.3f}.png", quantised)


def _depth(photographs: Path, name: str, clean: Image, rng: np.random.Generator) -> FloatImage:
    """The stereo pair's own depth, seen from the left or mirrored to the right view; else a smooth random one."""
    height, width = clean.shape[:2]
    if name not in STEREO_PAIR:
        return smooth_depth(height, width, rng)
    with np.load(photographs / "motorcycle_disp.npz") as archive:
        disparity = archive["arr_0"]
    if name == "motorcycle_right.png":
        disparity = _seen_from_the_right(disparity)
    depth = cv2.resize(depth_from_disparity(disparity), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(depth, np.float32)


def _seen_from_the_right(disparity: FloatImage) -> FloatImage:
    """Move each pixel of the left view's disparity map to where the right view sees it; the nearest one wins."""
    right = np.full_like(disparity, np.inf)
    rows, columns = np.nonzero(np.isfinite(disparity))
    values = disparity[rows, columns]
    targets = np.round(columns - values).astype(int)
    inside = targets >= 0
    far_to_near = np.argsort(values[inside], kind="stable")
    right[rows[inside][far_to_near], targets[inside][far_to_near]] = values[inside][far_to_near]
    return right


def _reduced(photograph: Image) -> Image:
    scale = SHORT_SIDE / min(photograph.shape[:2])
    return np.asarray(cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"The photograph {path} is not in this version of scikit-image.")
    return np.asarray(image, np.uint8)


def _write(path: Path, image: Image) -> None:
    if not cv2.imwrite(str(path), image):
        raise UserError(f"The image {path} cannot be written.")


def _write_lmdb(folder: Path, path: Path) -> None:
    files = sorted(folder.glob("*.png"))
    size = sum(_read(file).nbytes for file in files)  # uncompressed, so more than the LMDB will hold
    make_lmdb_from_imgs(
        str(folder), str(path), [file.name for file in files], [file.stem for file in files], map_size=2 * size + 2**20
    )
