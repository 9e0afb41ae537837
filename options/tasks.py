"""The data sets of the recipes, and the tasks that they train and measure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from writing import keys

from constyle_arch.data.preparation.catalogue import DATA_SETS


@dataclass(frozen=True)
class DataSet:
    """A data set to train or measure on: its name in results, and its options."""

    name: str
    options: Mapping[str, Any]

    @property
    def section(self) -> dict[str, Any]:
        """Of `datasets`."""
        return {"name": self.name, **self.options}


def sections(phase: str, sets: tuple[DataSet, ...]) -> dict[str, Any]:
    """`datasets` of a phase: `test`, or `test_1`, `test_2`."""
    numbered = [f"{phase}_{number}" for number in range(1, len(sets) + 1)]
    names = [phase] if len(sets) == 1 else numbered
    return {name: one.section for name, one in zip(names, sets, strict=True)}


def paired(name: str, gt: str, lq: str, lq_name: str = "{}", gt_name: str = "{}") -> DataSet:
    """Pairs of images."""
    roots = {"type": "PairedRestorationDataset", "dataroot_gt": gt, "dataroot_lq": lq}
    forms = {} if lq_name == gt_name == "{}" else {"lq_name": lq_name, "gt_name": gt_name}
    return DataSet(name, roots | forms)


def pairs(name: str, part: str, called: str = "") -> DataSet:
    """Pairs of a data set of the catalogue."""
    listed = DATA_SETS[name]
    forms = listed.splits[part].names
    return paired(called or name, listed.lmdb(part, "gt"), listed.lmdb(part, "lq"), *forms)


def clean(*names: str, part: str = "train") -> list[str]:
    """Where the clean images of data sets of the catalogue lie."""
    return [DATA_SETS[name].lmdb(part, "gt") for name in names]


def degraded(name: str, roots: list[str], *degradations: dict[str, Any]) -> DataSet:
    """Clean images, degraded as they are read."""
    options = {
        "type": "DegradedImageDataset",
        "dataroot_gt": roots if len(roots) > 1 else roots[0],
        "degradations": list(degradations),
    }
    return DataSet(name, options)


def noisy(name: str, roots: list[str], sigma: Any) -> DataSet:
    """Clean images with Gaussian noise added as they are read."""
    return degraded(name, roots, {"type": "noise", "sigma": sigma})


def mixed(name: str, *sets: DataSet, weights: list[int] | None = None) -> DataSet:
    """Samples of several data sets, as often as their weights say; without, equally often."""
    section = {"type": "MixedDataset", "sets": [one.section for one in sets]}
    return DataSet(name, section | ({"weights": weights} if weights else {}))


def sample(task: str, part: str) -> DataSet:
    """The sample photographs of a task."""
    home, name = f"datasets/sample/{task}", f"sample-{task}"
    train = part == "train"
    gt, lq = (
        f"{home}/prepared/train/{side}.lmdb" if train else f"{home}/test/{side}"
        for side in ("gt", "lq")
    )
    if task == "denoise":
        return noisy(name, [gt], 25)
    return paired(name, gt, lq, "{}_*_*" if task == "dehaze" else "{}_*")


@dataclass(frozen=True)
class Task:
    """What to restore.

    Args:
        title: what people call it.
        train: the data set to train on.
        val: data sets to validate on while training; the first decides which network is the best.
        test: the benchmarks.
        needs: the data sets' names in `basicsr prepare`.
        constyle_iter: iterations that ConStyle trains; None for all of them.
        guided_only: whether only networks that ConStyle guides have recipes for it.
    """

    title: str
    train: DataSet
    val: tuple[DataSet, ...]
    test: tuple[DataSet, ...]
    needs: tuple[str, ...]
    constyle_iter: int | None = 250000
    guided_only: bool = False


DFWB = ("DIV2K", "Flickr2K", "WED", "BSD")
"""What the paper's denoising trains on."""


def _denoise(title: str, sigma: Any, tested: tuple[int, ...], watched: int) -> Task:
    def benchmark(name: str, level: int) -> DataSet:
        return noisy(f"{name}-sigma{level}", clean(name, part="test"), level)

    return Task(
        title,
        noisy("DFWB", clean(*DFWB), sigma),
        val=(benchmark("CBSD68", watched),),
        test=tuple(benchmark(name, level) for name in ("CBSD68", "Urban100") for level in tested),
        needs=(*DFWB, "CBSD68", "Urban100"),
        constyle_iter=None,
    )


def _any() -> Task:
    """Seven tasks at a time; where the catalogue has no pairs, clean images are degraded."""
    photographs, cbsd68 = clean(*DFWB), clean("CBSD68", part="test")
    sets = (
        noisy("noise", photographs, [0, 50]),
        pairs("Rain14000", "train", "rain"),
        pairs("OTS", "train", "haze"),
        pairs("GoPro", "train", "blur"),
        degraded("jpeg", photographs, keys("type: jpeg, quality: [10, 60]")),
        degraded("snow", photographs, keys("type: snow, severity: {choice: [1, 2, 3]}")),
        degraded(
            "low_light",
            photographs,
            keys("type: low_light, gamma: [1.5, 4]"),
            keys("type: noise, sigma: [0, 10]"),
        ),
    )
    measured = (
        noisy("CBSD68-sigma25", cbsd68, 25),
        pairs("Rain100L", "test"),
        pairs("SOTS", "test"),
        pairs("GoPro", "test"),
        degraded("CBSD68-jpeg20", cbsd68, keys("type: jpeg, quality: 20")),
        degraded("CBSD68-snow2", cbsd68, keys("type: snow, severity: 2")),
        degraded(
            "CBSD68-dark",
            cbsd68,
            keys("type: low_light, gamma: 2.5"),
            keys("type: noise, sigma: 5"),
        ),
    )
    return Task(
        "noise, rain, haze, blur, JPEG, snow and low light in one network",
        mixed("mixed", *sets, weights=[1] * 7),
        val=measured,
        test=measured,
        needs=(*DFWB, "Rain14000", "OTS", "GoPro", "CBSD68", "Rain100L", "SOTS"),
        guided_only=True,
    )


BLURRED = ("GoPro", "HIDE", "RealBlur-R", "RealBlur-J")

TASKS = {
    "denoise": _denoise("blind denoising (σ from 0 to 50)", [0, 50], (15, 25, 50), 25),
    **{
        f"denoise{sigma}": _denoise(f"denoising (σ {sigma})", sigma, (sigma,), sigma)
        for sigma in (15, 25, 50)
    },
    "deblur": Task(
        "deblurring",
        pairs("GoPro", "train"),
        val=(pairs("GoPro", "test"),),
        test=tuple(pairs(name, "test") for name in BLURRED),
        needs=BLURRED,
    ),
    "derain": Task(
        "deraining",
        pairs("Rain14000", "train"),
        val=(pairs("Rain100L", "test"), pairs("Rain100H", "test")),
        test=(pairs("Rain100H", "test"), pairs("Rain100L", "test")),
        needs=("Rain14000", "Rain100H", "Rain100L"),
    ),
    "dehaze": Task(
        "dehazing",
        pairs("OTS", "train"),
        val=(pairs("SOTS", "test"),),
        test=(pairs("SOTS", "test"),),
        needs=("OTS", "SOTS"),
    ),
    "any": _any(),
}
