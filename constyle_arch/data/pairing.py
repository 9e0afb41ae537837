"""Matching degraded images to clean ones by their names, never by their order."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from constyle_arch.errors import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
NAMES_SHOWN = 10


def match_names(
    lq_names: Iterable[str], gt_names: Iterable[str], lq_template: str = "{}", gt_template: str = "{}"
) -> list[tuple[str, str]]:
    """Pair every degraded image with the clean image that has the same identity.

    The identity is what the `{}` of a template stand for in a name; `*` stands for any text. So `{}_*_*` and `{}`
    pair `0001_0.8_0.2` with `0001` (many hazy images to one clean), and `rain-{}` and `norain-{}` pair `rain-001`
    with `norain-001`.

    Args:
        lq_names: names of the degraded images, without suffix.
        gt_names: names of the clean images, without suffix.
        lq_template: the form of a degraded name.
        gt_template: the form of a clean name; it has as many `{}`.

    Returns:
        Pairs (degraded name, clean name), sorted by the degraded name. A clean image without degraded ones is
        left out with a warning.

    Raises:
        DataError: a degraded image has no partner, a name does not have its template's form, or two clean images
            have one identity.
    """
    if lq_template.count("{}") != gt_template.count("{}") or "{}" not in lq_template:
        raise DataError(
            f"lq_name {lq_template!r} and gt_name {gt_template!r} must hold the same number of {{}}, at least one."
        )
    lq_identities = _identities(lq_names, lq_template, "lq_name")
    clean: dict[tuple[str, ...], str] = {}
    for name, identity in _identities(gt_names, gt_template, "gt_name").items():
        if identity in clean:
            raise DataError(f"The clean images {clean[identity]!r} and {name!r} both match gt_name {gt_template!r}.")
        clean[identity] = name

    unmatched = [name for name, identity in lq_identities.items() if identity not in clean]
    if unmatched:
        raise DataError(
            f"{len(unmatched)} of {len(lq_identities)} degraded images have no clean partner: {listed(unmatched)}. "
            f"Names are matched by lq_name {lq_template!r} and gt_name {gt_template!r}."
        )
    unused = sorted(set(clean) - set(lq_identities.values()))
    if unused:
        logging.getLogger("basicsr").warning(
            "%d clean images have no degraded one and are not used: %s", len(unused), listed([clean[i] for i in unused])
        )
    return [(name, clean[identity]) for name, identity in sorted(lq_identities.items())]


def image_files(folder: Path) -> dict[str, Path]:
    """The images below `folder`, keyed by their path relative to it without suffix, sorted.

    Raises:
        DataError: two files differ in their suffix alone.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() not in IMAGE_SUFFIXES or hidden or not path.is_file():
            continue
        name = relative.with_suffix("").as_posix()
        if name in files:
            raise DataError(f"{files[name]} and {path} have one name; remove or rename one of them.")
        files[name] = path
    return files


def lmdb_keys(folder: Path) -> list[str]:
    """The keys of an LMDB that BasicSR's writer made, read from its `meta_info.txt`; dotted keys are kept whole.

    Raises:
        DataError: the folder holds no `meta_info.txt`.
    """
    meta_info = folder / "meta_info.txt"
    if not meta_info.is_file():
        raise DataError(f"{folder} is not an LMDB of BasicSR's: it holds no meta_info.txt.")
    lines = meta_info.read_text(encoding="utf-8").splitlines()
    return [line.rsplit(" (", 1)[0].rsplit(".", 1)[0] for line in lines if line.strip()]


def listed(names: Sequence[str]) -> str:
    """The first names in words, and how many more there are."""
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _identities(names: Iterable[str], template: str, option: str) -> dict[str, tuple[str, ...]]:
    pattern = re.compile(re.escape(template).replace(r"\{\}", "(.+)").replace(r"\*", ".*"))
    matches = {name: pattern.fullmatch(name) for name in names}
    strange = [name for name, match in matches.items() if match is None]
    if strange:
        raise DataError(f"{len(strange)} names do not have the form of {option} {template!r}: {listed(strange)}.")
    return {name: match.groups() for name, match in matches.items() if match is not None}
