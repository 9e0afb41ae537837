"""The data sets of the paper: where their images lie and where `basicsr prepare` packs them."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from constyle_arch.data.preparation.plan import Plan


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Args:
        name: as commands, option files and `datasets/README.md` call it; also of its folder in
            `datasets/`.
        splits: its parts, `train` or `test`: where they lie in its folder.
        unpacked_in: the folder in `datasets/` its download is unpacked to, where that is another
            one.
    """

    name: str
    splits: dict[str, Plan]
    unpacked_in: str = ""

    @property
    def source(self) -> str:
        """The folder of the downloaded images."""
        return f"datasets/{self.unpacked_in or self.name}"

    @property
    def prepared(self) -> str:
        """The folder that `basicsr prepare` writes."""
        return f"datasets/{self.name}/prepared"

    def cut(self, sub_image: int, overlap: int) -> "DataSet":
        """The same data set with other sub-images to train on."""
        cut = replace(self.splits["train"], sub_image=sub_image, overlap=overlap)
        return replace(self, splits={**self.splits, "train": cut})

    def lmdb(self, split: str, side: str) -> str:
        """The LMDB of a part's degraded (`lq`) or clean (`gt`) images."""
        return f"{self.prepared}/{split}/{side}.lmdb"


def _real_blur(kind: str, folder: str) -> DataSet:
    plan = Plan(
        images=980,
        gt=f"{folder}/*/gt",
        lq=f"{folder}/*/blur",
        names=("{}/blur/blur_{}", "{}/gt/gt_{}"),
        listed_in=f"RealBlur_{kind}_test_list.txt",
    )
    return DataSet(f"RealBlur-{kind}", {"test": plan}, unpacked_in="RealBlur")


def _rain100(kind: str, **images: int) -> DataSet:
    return DataSet(
        f"Rain100{kind}",
        {
            part: Plan(
                images=number,
                gt=f"{part}/norain",
                lq=f"{part}/rain",
                names=("rain-{}", "norain-{}"),
            )
            for part, number in images.items()
        },
    )


def _rooms(part: str, images: int) -> Plan:
    return Plan(images=images, gt=f"{part}/gt", lq=f"{part}/hazy", names=("{}_*", "{}"))


def _gopro(part: str, images: int) -> Plan:
    names = ("{}/blur/{}", "{}/sharp/{}")
    return Plan(images=images, gt=f"{part}/*/sharp", lq=f"{part}/*/blur", names=names)


def _rain14000(part: str, images: int) -> Plan:
    lq = f"{part}/rainy_image"
    return Plan(images=images, gt=f"{part}/ground_truth", lq=lq, names=("{}_*", "{}"))


def _to_denoise(name: str, images: int, folder: str) -> DataSet:
    """A part of DFWB, cut as for Restormer."""
    return DataSet(name, {"train": Plan(images=images, gt=folder, sub_image=512, overlap=96)})


_HAZY = ("{}_*_*", "{}")

DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet("OTS", {"train": Plan(images=313950, gt="clear", lq="hazy", names=_HAZY)}),
        DataSet(
            "SOTS", {"test": Plan(images=500, gt="outdoor/gt", lq="outdoor/hazy", names=_HAZY)}
        ),
        DataSet("SOTS-indoor", {"train": _rooms("train", 140), "test": _rooms("test", 45)}),
        DataSet("GoPro", {"train": _gopro("train", 2103), "test": _gopro("test", 1111)}).cut(
            sub_image=512, overlap=256
        ),
        DataSet(
            "HIDE",
            {"test": Plan(images=2025, gt="GT", lq="test", names=("*/{}", "{}"), spare_clean=True)},
        ),
        _real_blur("R", "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref"),
        _real_blur("J", "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"),
        DataSet(
            "Rain14000",
            {"train": _rain14000("training", 12600), "test": _rain14000("testing", 1400)},
        ),
        DataSet("Rain13K", {"train": Plan(images=13712, gt="train/target", lq="train/input")}),
        _rain100("L", train=200, test=100),
        _rain100("H", test=100),
        _to_denoise("DIV2K", 800, "DIV2K_train_HR"),
        _to_denoise("Flickr2K", 2650, "Flickr2K_HR"),
        _to_denoise("WED", 4744, "pristine_images"),
        _to_denoise("BSD", 400, "BSDS500/data/images/t*"),
        DataSet("CBSD432", {"train": Plan(images=432, gt="original")}),
        DataSet("CBSD68", {"test": Plan(images=68, gt="original_png")}),
        DataSet("Urban100", {"test": Plan(images=100, gt="HR")}),
    )
}
"""By name. BSD is `train` and `test` without `val`, of which CBSD68 is a part."""

SAMPLE = "sample"
OWN_IMAGES = "Images of your own"


def how_to_get(root: str) -> str:
    """Where a user reads how to get the images that are missing at `root`."""
    parts = Path(root).parts
    for name in (*DATA_SETS, SAMPLE):
        if ("datasets", name) in pairwise(parts):
            command = f"`basicsr prepare {name.lower()}`"
            return f'{command} writes it; see datasets/README.md, section "{name}"'
    return f'datasets/README.md, section "{OWN_IMAGES}", says how to prepare them'
