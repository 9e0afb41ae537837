"""The data sets of the paper: where their images lie once downloaded, and where `basicsr prepare` packs them."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Split:
    """One part of a data set, to train or to test on.

    Args:
        images: how many degraded images were published; clean ones where there are only those.
        gt: folder of the clean images in the data set's folder, as `image_stores.ImageFolder` takes it.
        lq: folder of the degraded ones; None where there are only clean images.
        names: forms of the degraded and of the clean names, see `pairing.compare_names`.
        listed_in: a file with the paths of the images that belong to this part; None where all do.
        sub_image, overlap: side of the sub-images to cut, and by how much they overlap, in pixels; 0 for whole images.
        spare_clean: whether the folder of clean images also holds those of another part.
    """

    images: int
    gt: str
    lq: str | None = None
    names: tuple[str, str] = ("{}", "{}")
    listed_in: str | None = None
    sub_image: int = 0
    overlap: int = 0
    spare_clean: bool = False


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Args:
        name: as commands, option files and `datasets/README.md` call it; also of its folder in `datasets/`.
        splits: its parts, `train` or `test`.
        unpacked_in: the folder in `datasets/` its download is unpacked to, where that is another one.
    """

    name: str
    splits: dict[str, Split]
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
        cut = (
            {"train": replace(self.splits["train"], sub_image=sub_image, overlap=overlap)}
            if "train" in self.splits
            else {}
        )
        return replace(self, splits={**self.splits, **cut})

    def lmdb(self, split: str, side: str) -> str:
        """The LMDB of a part's degraded (`lq`) or clean (`gt`) images."""
        return f"{self.prepared}/{split}/{side}.lmdb"


def _real_blur(kind: str, folder: str) -> DataSet:
    test = Split(
        images=980,
        gt=f"{folder}/*/gt",
        lq=f"{folder}/*/blur",
        names=("{}/blur/blur_{}", "{}/gt/gt_{}"),
        listed_in=f"RealBlur_{kind}_test_list.txt",
    )
    return DataSet(f"RealBlur-{kind}", {"test": test}, unpacked_in="RealBlur")


def _rain100(kind: str) -> DataSet:
    test = Split(100, gt="test/norain", lq="test/rain", names=("rain-{}", "norain-{}"))
    return DataSet(f"Rain100{kind}", {"test": test})


_HAZY = ("{}_*_*", "{}")
_BLURRED = ("{}/blur/{}", "{}/sharp/{}")
_STREAKED = ("{}_*", "{}")

DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet("OTS", {"train": Split(313950, gt="clear", lq="hazy", names=_HAZY)}),
        DataSet("SOTS", {"test": Split(500, gt="outdoor/gt", lq="outdoor/hazy", names=_HAZY)}),
        DataSet(
            "GoPro",
            {
                "train": Split(2103, gt="train/*/sharp", lq="train/*/blur", names=_BLURRED, sub_image=512, overlap=256),
                "test": Split(1111, gt="test/*/sharp", lq="test/*/blur", names=_BLURRED),
            },
        ),
        DataSet("HIDE", {"test": Split(2025, gt="GT", lq="test", names=("*/{}", "{}"), spare_clean=True)}),
        _real_blur("R", "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref"),
        _real_blur("J", "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"),
        DataSet(
            "Rain14000",
            {
                "train": Split(12600, gt="training/ground_truth", lq="training/rainy_image", names=_STREAKED),
                "test": Split(1400, gt="testing/ground_truth", lq="testing/rainy_image", names=_STREAKED),
            },
        ),
        DataSet("Rain13K", {"train": Split(13712, gt="train/target", lq="train/input")}),
        _rain100("L"),
        _rain100("H"),
        DataSet("DIV2K", {"train": Split(800, gt="DIV2K_train_HR", sub_image=512, overlap=96)}),
        DataSet("Flickr2K", {"train": Split(2650, gt="Flickr2K_HR", sub_image=512, overlap=96)}),
        DataSet("WED", {"train": Split(4744, gt="pristine_images", sub_image=512, overlap=96)}),
        DataSet("BSD", {"train": Split(400, gt="BSDS500/data/images/t*", sub_image=512, overlap=96)}),
        DataSet("CBSD68", {"test": Split(68, gt="original_png")}),
        DataSet("Urban100", {"test": Split(100, gt="HR")}),
    )
}
"""By name. Of BSD these are the images in `train` and `test`, not those in `val`, of which CBSD68 is a part."""

SAMPLE = "sample"
OWN_IMAGES = "Images of your own"


def how_to_get(root: str) -> str:
    """Where a user reads how to get the images that are missing at `root`."""
    parts = Path(root).parts
    name = next((name for name in (*DATA_SETS, SAMPLE) if ("datasets", name) in pairwise(parts)), None)
    if name is None:
        return f'datasets/README.md, section "{OWN_IMAGES}", says how to prepare them'
    return f'`basicsr prepare {name.lower()}` writes it; see datasets/README.md, section "{name}"'
