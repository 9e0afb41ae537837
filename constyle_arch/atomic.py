"""Writing a file so that it is either whole or not there."""

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


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
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
        unfinished.unlink(missing_ok=True)
        raise RunError(f"The file {path} cannot be written: {error}. What was there before is untouched.") from error
