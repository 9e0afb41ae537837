"""How many training crops one core reads, decodes and augments in a second: `python
benchmarks/loader.py`.

Pairs of photographs of 620×460 pixels, read as whole PNGs and as what `basicsr prepare` makes of
them. The kinds are measured in turn, several rounds, and medians are printed as a Markdown table.
"""

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import skimage
import torch

import constyle_arch
from constyle_arch.data.degradations import Rain
from constyle_arch.data.degraded_image_dataset import DegradedImageDataset
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.preparation.packing import pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.data.training_sampler import SeededDataset
from constyle_arch.images import to_8_bit, to_float

PHOTOGRAPHS = (
    *("astronaut.png", "coffee.png", "chelsea.png"),
    *("motorcycle_left.png", "rocket.jpg", "ihc.png"),
)
WIDTH, HEIGHT, CROP = 620, 460, 128


def write_photographs(folder: Path) -> None:
    """Pairs of photographs below `folder`, as PNG of OpenCV's usual compression."""
    rng = np.random.RandomState(0)
    for side in ("gt", "lq"):
        (folder / side).mkdir()
    for name in PHOTOGRAPHS:
        photograph = cv2.imread(str(Path(skimage.__file__).parent / "data" / name))
        clean = cv2.resize(photograph, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        rainy = to_8_bit(Rain()(to_float(clean), rng))
        for side, image in (("gt", clean), ("lq", rainy)):
            cv2.imwrite(str(folder / side / f"{Path(name).stem}.png"), image)


def build(folder: Path) -> dict[str, SeededDataset]:
    """A data set of each kind, by its description."""
    write_photographs(folder)
    roots = {"whole PNGs": (folder / "lq", folder / "gt")}
    for size, overlap in ((0, 0), (512, 96), (256, 64)):
        plan = Plan(gt=str(folder / "gt"), lq=str(folder / "lq"), sub_image=size, overlap=overlap)
        pack(plan, folder / f"packed{size}")
        what = f"LMDB, sub-images of {size}" if size else "LMDB, whole PNGs"
        roots[what] = (folder / f"packed{size}" / "lq.lmdb", folder / f"packed{size}" / "gt.lmdb")
    train = {"name": "benchmark", "phase": "train", "gt_size": CROP}
    kinds = {
        f"pairs, {what}": PairedRestorationDataset(
            {**train, "dataroot_lq": str(lq), "dataroot_gt": str(gt)}
        )
        for what, (lq, gt) in roots.items()
    }
    for name, degradation in (
        ("noise", {"type": "noise", "sigma": [0, 50]}),
        ("haze", {"type": "haze"}),
        ("rain", {"type": "rain"}),
        ("motion blur", {"type": "motion_blur", "length": [1, 15]}),
    ):
        options = {
            **train,
            "dataroot_gt": str(roots["LMDB, sub-images of 256"][1]),
            "degradations": [degradation],
        }
        kinds[f"{name} on the fly, LMDB, sub-images of 256"] = DegradedImageDataset(options)
    return {what: SeededDataset(dataset) for what, dataset in kinds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="how often each kind is measured (default: 7)"
    )
    parser.add_argument(
        "--crops", type=int, default=150, help="crops of a measurement (default: 150)"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kinds = build(Path(folder))
        rates: dict[str, list[float]] = {what: [] for what in kinds}
        for round_number in range(arguments.rounds):
            for what, dataset in kinds.items():
                start = time.perf_counter()
                for number in range(arguments.crops):
                    dataset[number % len(dataset), 1000 * round_number + number]
                rates[what].append(arguments.crops / (time.perf_counter() - start))
    print(
        f"constyle-arch {constyle_arch.__version__}, OpenCV {cv2.__version__}, torch "
        f"{torch.__version__}, ",
        end="",
    )
    print(f"Python {platform.python_version()}; one core, median of {arguments.rounds} rounds\n")
    print("| source | crops of 128×128 a second and core |\n|---|---|")
    for what, measured in rates.items():
        print(f"| {what} | {statistics.median(measured):.0f} |")


if __name__ == "__main__":
    main()
