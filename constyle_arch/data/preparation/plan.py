"""What is to be packed."""

from dataclasses import dataclass, replace
from pathlib import Path

from constyle_arch.errors import DataError


@dataclass(frozen=True)
class Plan:
    """What to pack.

    Args:
        gt: folder of the clean images, see `image_stores.ImageFolder`.
        lq: folder of the degraded images; None where there are only clean ones.
        names: forms of the degraded and of the clean names, see `pairing.compare_names`; None
            for those by which they match.
        listed_in: a file with the paths of the images to pack, relative to its folder; None for all
            images.
        sub_image: side of the square sub-images to cut larger images into, in pixels; 0 keeps
            images whole.
        overlap: by how many pixels neighbouring sub-images overlap at least.
        smallest: a side shorter than this many pixels is reported.
        spare_clean: whether it is as expected that clean images have no degraded ones.
        images: how many degraded images were published, clean ones where there are only those; 0
            for images of a user's.

    Raises:
        DataError: `sub_image` or `overlap` is out of its range.
    """

    gt: str
    lq: str | None = None
    names: tuple[str, str] | None = ("{}", "{}")
    listed_in: str | None = None
    sub_image: int = 0
    overlap: int = 0
    smallest: int = 1
    spare_clean: bool = False
    images: int = 0

    def __post_init__(self) -> None:
        if self.sub_image < 0:
            raise DataError(
                f"The sub-images' size is {self.sub_image}; it must be at least 1, or 0 for whole "
                "images."
            )
        limit = max(self.sub_image, 1)
        if not 0 <= self.overlap < limit:
            raise DataError(
                f"The overlap is {self.overlap}; it must be in [0, {limit}), below the sub-images' "
                "size."
            )

    @property
    def inputs(self) -> list[str]:
        """The folders that are read."""
        return [folder for folder in (self.gt, self.lq) if folder]

    def names_packed(self, names: tuple[str, str]) -> tuple[str, str]:
        """The forms of `names` in the LMDBs, where sub-images have a number at the end."""
        if not self.sub_image or all(name.endswith("{}") for name in names):
            return names
        return f"{names[0]}_s{{}}", f"{names[1]}_s{{}}"

    def below(self, folder: str) -> "Plan":
        """The same plan with its paths below `folder`."""
        paths = (self.gt, self.lq, self.listed_in)
        gt, lq, listed_in = (path and f"{folder}/{path}" for path in paths)
        return replace(self, gt=str(gt), lq=lq, listed_in=listed_in)

    def at_home(self) -> "Plan":
        """The same plan wherever it is run: its paths absolute."""
        gt, lq = (path and str(Path(path).expanduser().absolute()) for path in (self.gt, self.lq))
        return replace(self, gt=str(gt), lq=lq)
