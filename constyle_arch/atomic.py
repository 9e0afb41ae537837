"""Writing a file so that it is either whole or not there."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch

from constyle_arch.errors import RunError


def save_atomically(content: object, path: Path) -> None:
    """Write `content` with `torch.save`; the file appears under its name once it is complete and on disk.

    Raises:
        RunError: the file cannot be written (disk full, no permission); what was there before is untouched.
    """
    _write(path, lambda file: torch.save(content, file))


def save_bytes_atomically(content: bytes, path: Path) -> None:
    """Write bytes in the same way."""
    _write(path, lambda file: file.write(content))


def _opened_alone(path: Path) -> BinaryIO:
    """A file to write from its beginning, which other processes that want to write it wait for."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, path):
            file.truncate()
            return file
        file.close()  # the one waited for has renamed it


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with _opened_alone(unfinished) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        reason = _cause(error)
        raise RunError(f"The file {path} cannot be written: {reason}. What was there before is untouched.") from error


def _cause(error: BaseException) -> str:
    """The system's error, which torch's writer hides behind one about positions in the file."""
    place: BaseException | None = error
    while place is not None and not (isinstance(place, OSError) and place.strerror):
        place = place.__cause__ or place.__context__
    return str(error) if place is None else str(place.strerror)
