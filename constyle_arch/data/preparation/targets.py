"""Which folders a preparation may write: never one that holds files of somebody else."""

import os
from collections.abc import Iterable
from pathlib import Path

from constyle_arch.data.image_stores import folder_of
from constyle_arch.errors import DataError


def check_target(target: Path, inputs: Iterable[str | Path]) -> None:
    """Check that a folder can be written without touching what is there.

    Args:
        target: the folder that is to be.
        inputs: the folders that are read, perhaps with a pattern, see `image_stores.ImageFolder`.

    Raises:
        DataError: the folder already exists, or is, holds or lies in an input.
    """
    real = Path(os.path.realpath(target))
    for given in inputs:
        source = Path(os.path.realpath(folder_of(given)))
        if real == source or source in real.parents or real in source.parents:
            relation = "is" if real == source else "lies in" if source in real.parents else "holds"
            raise DataError(f"-o: {target} {relation} the input {given}; choose another folder.")
    if os.path.lexists(target):
        whose = "prepared before" if is_prepared(target) else "not written by this command"
        raise DataError(f"-o: {target} already exists, {whose}; choose another folder.")


def is_prepared(folder: Path) -> bool:
    """Whether a folder is what `packing.pack` leaves."""
    return (folder / "report.txt").is_file() and (folder / "gt.lmdb" / "meta_info.txt").is_file()
