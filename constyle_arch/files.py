"""Writing a file so that it is either whole or not there."""

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from constyle_arch.errors import RunError

SUFFIX = ".unfinished"


def save_atomically(content: object, path: Path) -> None:
    """Write with `torch.save`; the file appears once it is complete and on disk.

    Processes that write one file at a time do not mix: the last one's is left.

    Raises:
        RunError: the file cannot be written (disk full, no permission); what was there before is
            untouched.
    """
    import torch  # which commands without a network are faster without

    _write(path, lambda file: torch.save(content, file))


def save_bytes_atomically(content: bytes, path: Path) -> None:
    """Write bytes in the same way."""
    _write(path, lambda file: file.write(content))


def free_path(path: Path) -> Path:
    """`path`, or PATH_2, PATH_3, … where that is taken, as by what the same second named."""
    numbered = (path.with_name(f"{path.name}_{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not os.path.lexists(one))


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left half-written in `folder`; nobody may be writing there."""
    for file in folder.glob(f".*{SUFFIX}"):
        file.unlink(missing_ok=True)


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    # a short name: that of the file may be as long as a name can be
    unfinished = path.with_name(f".{secrets.token_hex(8)}{SUFFIX}")
    try:
        with unfinished.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"The file {path} cannot be written: {cause_of(error)}. What was there before is "
            "untouched."
        ) from error
    finally:  # an interruption, too, leaves nothing half-written
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def cause_of(error: BaseException) -> str:
    """The system's error behind `error`, in words; torch's writer hides it, for one."""
    place: BaseException | None = error
    while place is not None and not (isinstance(place, OSError) and place.strerror):
        place = place.__cause__ or place.__context__
    return str(error) if place is None else str(place.strerror)


def _sync_folder(folder: Path) -> None:
    """Have the new name on disk as well; Windows opens no folders and keeps names itself."""
    if os.name == "nt":
        return
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
