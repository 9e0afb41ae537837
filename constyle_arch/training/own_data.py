"""What is in a user's folders of photographs: how names match, how many and how large."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from constyle_arch.data.image_stores import ImageStore, open_store
from constyle_arch.data.pairing import compare_names, matching_forms
from constyle_arch.errors import DataError, listed
from constyle_arch.images import size_in_header

SIZES_READ = 500
"""Headers of at most so many images are read, spread over the folder."""


@dataclass(frozen=True)
class OwnData:
    """Photographs to train on.

    Attributes:
        gt, lq: where the clean and the degraded ones lie; None where clean ones are degraded as
            they are read.
        lq_name, gt_name: forms of their names, see `data.pairing`.
        clean: how many clean images there are.
        pairs: how many degraded ones.
        shortest: the shortest side of any, in pixels.
        pixels: of a usual one.
    """

    gt: str
    lq: str | None
    lq_name: str
    gt_name: str
    clean: int
    pairs: int
    shortest: int
    pixels: int


def look_at(gt: str, lq: str | None, names: tuple[str, str] | None = None) -> OwnData:
    """Find out what is in the folders or LMDBs `gt`, of clean images, and `lq`, of degraded ones.

    Where `names`, the forms of degraded and of clean names, are left out, usual ones are tried.

    Raises:
        DataError: there are no images, both are one folder, names do not match, or a pair differs
            in size.
    """
    clean = open_store(gt, "--gt")
    if lq is None:
        sizes = [_size(clean, name) for name in _spread(sorted(clean.names))]
        return OwnData(gt, None, "{}", "{}", len(clean.names), len(clean.names), *_summary(sizes))
    degraded = open_store(lq, "--lq")
    if degraded.root.resolve() == clean.root.resolve():
        raise DataError(f"--lq and --gt are both {gt}; name the degraded images by --lq.")
    forms = names or matching_forms(degraded.names, clean.names)
    matching = compare_names(degraded.names, clean.names, *forms)
    if matching.problems:
        problems = matching.problems.items()
        found = "; ".join(f"{len(names)} {what}: {listed(names, 3)}" for what, names in problems)
        raise DataError(
            f"{found}. --lq-name and --gt-name say how names correspond, e.g. 'rain-{{}}' "
            "'norain-{}'."
        )
    sizes = []
    for lq_image, gt_image in _spread(matching.pairs):
        sizes.append(_size(degraded, lq_image))
        if sizes[-1] != (other := _size(clean, gt_image)):
            found, wanted = ("×".join(map(str, size)) for size in (sizes[-1], other))
            raise DataError(
                f"{degraded.location(lq_image)} is {found} but its clean partner "
                f"{clean.location(gt_image)} is {wanted} pixels; a pair must be of one size."
            )
    used = {name for _, name in matching.pairs}
    return OwnData(gt, lq, *forms, len(used), len(matching.pairs), *_summary(sizes))


def _spread(items: Sequence[str] | Sequence[tuple[str, str]]) -> Sequence:  # type: ignore[type-arg]
    return items[:: -(-len(items) // SIZES_READ)]


def _size(store: ImageStore, name: str) -> tuple[int, int]:
    size = size_in_header(store.read(name))
    if size is None:
        raise DataError(f"{store.location(name)} is no image that can be read; move it elsewhere.")
    return size


def _summary(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The shortest side, and the median number of pixels."""
    return min(map(min, sizes)), int(median(width * height for width, height in sizes))
