"""LMDB environments, of which a process may open each only once."""

import os
from pathlib import Path

import lmdb

from constyle_arch.errors import DataError

_environments: dict[str, lmdb.Environment] = {}


def shared_environment(path: str | Path) -> lmdb.Environment:
    """The read-only environment of the LMDB at `path`, opened once in each process.

    Raises:
        DataError: the folder is no LMDB, or the file is shorter than what was written (which would
            end the process).
    """
    real_path = os.path.realpath(path)
    if real_path not in _environments:
        try:
            environment = lmdb.open(real_path, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise DataError(f"The LMDB {path} cannot be opened: {error}") from error
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        found = (Path(real_path) / "data.mdb").stat().st_size
        if found < needed:
            environment.close()
            raise DataError(
                f"The LMDB {path} is cut off: data.mdb holds {found} of {needed} bytes; write it "
                "again."
            )
        _environments[real_path] = environment
    return _environments[real_path]


def close_environments() -> None:
    """Close what this process has open; a forked worker must, before it opens anything itself."""
    for environment in _environments.values():
        environment.close()
    _environments.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=close_environments)
