"""Small data sets for all four tasks from the photographs in scikit-image's wheel."""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.random import RandomState
from tqdm import tqdm

from constyle_arch.data.degradations.blur import MotionBlur
from constyle_arch.data.degradations.weather import (
    Rain,
    add_haze,
    depth_from_disparity,
    smooth_depth,
)
from constyle_arch.data.preparation.packing import pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.data.preparation.unfinished import check_target, is_prepared
from constyle_arch.errors import UserError, listed
from constyle_arch.images import FloatImage, Image, to_8_bit, to_float

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
"""Photographs are reduced to this shorter side, so that a crop shows much of a scene."""

CHANNEL_ORDERS = ["".join(order) for order in permutations("rgb")]
"""No degradation here has a colour: with its channels permuted, a photograph is a new one."""

VERSIONS_TO_TRAIN = 4
VERSIONS_TO_TEST = 3
HAZE_TO_TRAIN = {"beta": (0.6, 2.2), "airlight": (0.7, 1.0)}
HAZE_TO_TEST = {"beta": (0.8, 1.8), "airlight": (0.75, 0.95)}
"""Narrower: at the edge of what it has seen a network restores less."""
RAIN = Rain(density=(0.004, 0.01), length=(12, 24), angle=(-25, 25), brightness=(0.4, 0.8))
BLUR = MotionBlur(length=(6, 8), angle=(-10, 10))
SEED = 0


Degrade = Callable[[str, Image, RandomState], tuple[str, FloatImage]]
"""Gives, of a photograph's file and pixels, what to add to its name, and a degraded version."""


def prepare_sample(output: str, tasks: Sequence[str] = ()) -> None:
    """Write the samples of `tasks`, or of all, below `output`; existing ones are left alone.

    `<task>/train` and `<task>/test` hold the folders `gt` (clean) and `lq` (degraded);
    `<task>/prepared/train` holds the training images again, as `gt.lmdb` and `lq.lmdb`. Denoising
    has clean images only, as its noise is added while training. A folder appears under its name
    once it is complete.

    Raises:
        UserError: scikit-image is not installed, there is no such task, `output` holds other files
            in a task's place, or cannot be written.
    """
    photographs = _photograph_folder()
    degradations: dict[str, Degrade | None] = {
        "dehaze": lambda file, image, rng: _hazed(photographs / file, image, rng),
        "derain": lambda _, image, rng: ("", RAIN(to_float(image), rng)),
        "deblur": lambda _, image, rng: ("", BLUR(to_float(image), rng)),
        "denoise": None,
    }
    unknown = [task for task in tasks if task not in degradations]
    if unknown:
        raise UserError(
            f"There is no sample for {listed(unknown)}; there are {', '.join(degradations)}."
        )
    folder = Path(output).expanduser()
    wanted = tasks or list(degradations)
    todo = []
    for task in wanted:
        if is_prepared(folder / task / "prepared" / "train"):
            print(f"{folder / task} already exists; to make it again, name another folder by -o.")
        else:
            check_target(folder / task, ())  # of each task, before any is begun
            todo.append(task)
    for task in todo:
        finished = folder / task
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=f".{task}.unfinished-", dir=folder) as unfinished:
                _write_sample(photographs, degradations[task], Path(unfinished) / task, task)
                (Path(unfinished) / task).rename(finished)
        except OSError as error:
            raise UserError(f"The sample cannot be written to {finished}: {error}") from error
        print(f"The sample is in {finished}.")


def _write_sample(photographs: Path, degrade: Degrade | None, folder: Path, task: str) -> None:
    rng = RandomState(SEED)
    for part, names, orders, versions in (
        ("train", TRAIN_PHOTOGRAPHS, CHANNEL_ORDERS, VERSIONS_TO_TRAIN),
        ("test", TEST_PHOTOGRAPHS, ["rgb"], VERSIONS_TO_TEST),
    ):
        for side in ("gt", "lq") if degrade else ("gt",):
            (folder / part / side).mkdir(parents=True)
        what = f"{task}: photographs to {part}"
        for name in tqdm(names, desc=what, unit="photograph", disable=None):
            for stem, image in _versions_in_color(photographs / name, orders):
                _write(folder / part / "gt" / f"{stem}.png", image)
                if not degrade:
                    continue
                for number in range(1, versions + 1):
                    addition, degraded = degrade(name, image, rng)
                    file = folder / part / "lq" / f"{stem}_{addition or number}.png"
                    _write(file, to_8_bit(degraded))
    train = folder / "train"
    names = ("{}_*_*" if task == "dehaze" else "{}_*", "{}")
    plan = Plan(gt=str(train / "gt"), lq=str(train / "lq") if degrade else None, names=names)
    pack(plan, folder / "prepared" / "train")


def _photograph_folder() -> Path:
    try:
        import skimage
    except ImportError as error:
        raise UserError(
            "The sample's photographs come with scikit-image: pip install 'constyle-arch[sample]'."
        ) from error
    return Path(skimage.__file__).parent / "data"


def _versions_in_color(path: Path, orders: Sequence[str]) -> Iterator[tuple[str, Image]]:
    """The reduced photograph in each order of its channels, with a name for each."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"The photograph {path} is not in this version of scikit-image.")
    scale = SHORT_SIDE / min(image.shape[:2])
    size = {"fx": scale, "fy": scale}
    reduced = np.asarray(cv2.resize(image, None, **size, interpolation=cv2.INTER_AREA), np.uint8)
    for order in orders:
        stem = path.stem if order == "rgb" else f"{path.stem}-{order}"
        channels = ["bgr".index(channel) for channel in reversed(order)]
        yield stem, np.ascontiguousarray(reduced[..., channels])


def _hazed(path: Path, image: Image, rng: RandomState) -> tuple[str, FloatImage]:
    """A hazy version and, as in RESIDE's names, its airlight and β."""
    depth = _depth(path, image, rng)
    haze = HAZE_TO_TEST if path.name in TEST_PHOTOGRAPHS else HAZE_TO_TRAIN
    beta, airlight = rng.uniform(*haze["beta"]), rng.uniform(*haze["airlight"])
    return f"{airlight:.3f}_{beta:.3f}", add_haze(to_float(image), depth, beta, airlight)


def _depth(path: Path, image: Image, rng: RandomState) -> FloatImage:
    """The stereo pair's own depth, as seen by its view; else a smooth random one."""
    height, width = image.shape[:2]
    if path.name not in STEREO_PAIR:
        return smooth_depth(height, width, rng)
    with np.load(path.with_name("motorcycle_disp.npz")) as archive:
        disparity = archive["arr_0"]
    if path.name == "motorcycle_right.png":
        disparity = _seen_from_the_right(disparity)
    depth = depth_from_disparity(disparity)
    resized = cv2.resize(depth, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32)


def _seen_from_the_right(disparity: FloatImage) -> FloatImage:
    """The left view's disparity map as the right one sees it; the nearest pixel wins."""
    right = np.full_like(disparity, np.inf)
    rows, columns = np.nonzero(np.isfinite(disparity))
    values = disparity[rows, columns]
    targets = np.round(columns - values).astype(int)
    inside = targets >= 0
    far_to_near = np.argsort(values[inside], kind="stable")
    right[rows[inside][far_to_near], targets[inside][far_to_near]] = values[inside][far_to_near]
    return right


def _write(path: Path, image: Image) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f"the image {path} cannot be written")
