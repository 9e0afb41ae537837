"""The folder in which LMDBs grow until complete: a lock, a journal, and the LMDBs."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import lmdb
from filelock import FileLock, Timeout

from constyle_arch.data.image_stores import folder_of
from constyle_arch.errors import DataError
from constyle_arch.files import save_bytes_atomically

INITIAL_MAP_SIZE = 2**30
COMMIT_BYTES = 2**25
COMMIT_SECONDS = 5
"""What is added is on disk after this many bytes or seconds."""

SUFFIX = ".unfinished"
JOURNAL = "journal.jsonl"
PLAN = "plan.json"
LOCK = ".lock"

Record: TypeAlias = dict[str, Any]
"""A line of the journal: `name`, `lines` of the meta files by side, and further notes."""


class Entry(NamedTuple):
    """An image of an LMDB: its key, its line in `meta_info.txt`, its encoded content."""

    key: str
    line: str
    content: bytes


class UnfinishedFolder:
    """`<output>.unfinished`, locked against other processes; `finish` makes it `output`.

    A folder of the same plan is continued, one of another plan started over.

    Args:
        output: the folder that is to be.
        plan: what is written, as plain values.
        sides: the LMDBs, `lq` and `gt` or one of them.

    Raises:
        DataError: `output` already exists, the unfinished folder is somebody else's, or another
            process is writing.
    """

    def __init__(self, output: Path, plan: Mapping[str, Any], sides: list[str]) -> None:
        self.output = output
        self.folder = output.with_name(output.name + SUFFIX)
        self.sides = sides
        check_target(output, ())
        self.folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in self.folder.iterdir()}
        if there - {LOCK} and not (self.folder / JOURNAL).is_file():
            raise DataError(
                f"-o: {self.folder}, which would be used meanwhile, was not written by this "
                "command; choose another folder."
            )
        self._lock = FileLock(self.folder / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"Another process is writing {self.folder}.") from None
        check_target(output, ())  # written by the process that had the lock until now
        self._journal = (self.folder / JOURNAL).open("a+", encoding="utf-8", errors="replace")
        self._environments: dict[str, lmdb.Environment] = {}
        self._pending: list[tuple[Record, Mapping[str, list[Entry]]]] = []
        self._pending_bytes = 0
        self._committed_at = time.monotonic()
        self._restart_unless_of(json.dumps(plan))
        self.records = self._read_journal()

    def close(self) -> None:
        """Close the files, and so let go of the folder."""
        for environment in self._environments.values():
            environment.close()
        self._environments.clear()
        self._journal.close()
        self._lock.release()

    def add(self, record: Record, entries: Mapping[str, list[Entry]]) -> None:
        """Write entries by side, then `record` and their lines to the journal; soon, not now."""
        lines = {side: [entry.line for entry in listed] for side, listed in entries.items()}
        self._pending.append(({**record, "lines": lines}, entries))
        for listed in entries.values():
            self._pending_bytes += sum(len(entry.content) for entry in listed)
        seconds = time.monotonic() - self._committed_at
        if self._pending_bytes >= COMMIT_BYTES or seconds > COMMIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Bring to disk what was added."""
        for side in self.sides:
            entries = [entry for _, every in self._pending for entry in every.get(side, [])]
            _put(self._environment(side), {entry.key.encode(): entry.content for entry in entries})
        for record, _ in self._pending:
            self._journal.write(json.dumps(record) + "\n")
            self.records[record["name"]] = record
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._pending, self._pending_bytes = [], 0
        self._committed_at = time.monotonic()

    def finish(self, records: list[Record], report: str) -> None:
        """Complete the LMDBs with exactly what `records` hold, and give the folder its name."""
        for side in self.sides:
            lines = sorted(line for record in records for line in record["lines"].get(side, []))
            keys = {line.rsplit(" (", 1)[0].rsplit(".", 1)[0].encode() for line in lines}
            self._drop_all_but(keys, side)
            text = "".join(f"{line}\n" for line in lines)
            save_bytes_atomically(text.encode(), self.folder / f"{side}.lmdb" / "meta_info.txt")
            self._environments.pop(side).close()
            (self.folder / f"{side}.lmdb" / "lock.mdb").unlink(missing_ok=True)
        save_bytes_atomically(report.encode(), self.folder / "report.txt")
        self.folder.rename(self.output)
        for name in (JOURNAL, PLAN, LOCK, "problems.txt"):
            (self.output / name).unlink(missing_ok=True)

    def _drop_all_but(self, keys: set[bytes], side: str) -> None:
        """Remove what is not in the journal, and what has since gone or changed."""
        with self._environment(side).begin(write=True) as transaction:
            there = set(transaction.cursor().iternext(values=False))
            for key in there - keys:
                transaction.delete(key)
        if keys - there:
            raise DataError(
                f"{self.folder / side}.lmdb lacks images that its journal has; choose another "
                "folder."
            )

    def _restart_unless_of(self, plan: str) -> None:
        written = self.folder / PLAN
        if written.is_file():
            if written.read_text(encoding="utf-8") == plan:
                print(f"{self.folder} is there: resuming.")
                return
            print(f"{self.folder} is of another plan: starting over.")
        self._journal.truncate(0)
        for other in self.folder.glob("*.lmdb"):
            shutil.rmtree(other)
        save_bytes_atomically(plan.encode(), written)

    def _read_journal(self) -> dict[str, Record]:
        """The newest whole line of each image; a last one that a kill cut off is removed."""
        self._journal.seek(0)
        lines = self._journal.readlines()
        whole = [line for line in lines if line.endswith("\n")]
        if whole != lines:
            self._journal.truncate(sum(len(line.encode()) for line in whole))
        return {record["name"]: record for record in map(json.loads, whole)}

    def _environment(self, side: str) -> lmdb.Environment:
        # opened only now: the worker processes were forked without it
        if side not in self._environments:
            path = str(self.folder / f"{side}.lmdb")
            self._environments[side] = lmdb.open(path, map_size=INITIAL_MAP_SIZE)
        return self._environments[side]


def _put(environment: lmdb.Environment, contents: Mapping[bytes, bytes]) -> None:
    """Write in one transaction; the map grows as needed."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, content in contents.items():
                    transaction.put(key, content)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
        except lmdb.Error:
            _check_room(environment.path(), sum(map(len, contents.values())))
            raise


def _check_room(folder: str, size: int) -> None:
    """Raise the system's error if `size` bytes cannot be written, which LMDB calls input/output.

    Twice as many are tried, as much as pages and tree may take.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2 * size))


def check_target(target: Path, inputs: Iterable[str | Path]) -> None:
    """Check that a folder can be written without touching what is there.

    Raises:
        DataError: it already exists, or is, holds or lies in an input, a folder that is read,
            perhaps with a pattern; see `image_stores.ImageFolder`.
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
    """Whether a folder is what `finish` leaves."""
    return (folder / "report.txt").is_file() and (folder / "gt.lmdb" / "meta_info.txt").is_file()
