"""Packing folders into LMDBs: every image checked, in parallel, resumed if interrupted."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import lmdb
from tqdm import tqdm

from constyle_arch.data.image_stores import ImageFolder
from constyle_arch.data.pairing import Matching, compare_names, matching_forms
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.data.preparation.unfinished import Entry, Record, UnfinishedFolder, check_target
from constyle_arch.data.workers import available_cores, listen_to_parent_alone
from constyle_arch.errors import NAMES_SHOWN, DataError, listed
from constyle_arch.files import cause_of, save_bytes_atomically
from constyle_arch.images import Image, decode, size_of

LONGEST_KEY = 511
"""In bytes; LMDB's limit."""

KINDS = {"lq": "degraded", "gt": "clean"}


@dataclass
class Report:
    """What was found.

    Args:
        counts: how many images each side has.
        names: the forms of their names.
        problems: what is wrong, and with which files.
        notes: what is worth knowing, and about which files.
        digests: the files of each content.
        sub_images: how many each side was cut into; empty where images stay whole.
    """

    counts: dict[str, int]
    names: tuple[str, str]
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    digests: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    sub_images: dict[str, int] = field(default_factory=dict)

    def add(self, problems: list[tuple[str, str]], digests: dict[str, str]) -> None:
        """Take in what a clean image and its degraded ones gave, see `Packed`."""
        for what, name in problems:
            self.problems[what].append(name)
        for location, digest in digests.items():
            self.digests[digest].append(location)

    def lines(self, most: int | None = None) -> str:
        """The report as text; of the names the first `most`, or all."""
        notes = dict(self.notes)
        if duplicates := [" = ".join(names) for names in self.digests.values() if len(names) > 1]:
            notes["groups of files have the same content"] = duplicates
        counts = [f"{count} {KINDS[side]} images" for side, count in self.counts.items()]
        lines = [f"{', '.join(counts)}."]
        if self.sub_images:
            cut = [f"{count} {KINDS[side]}" for side, count in self.sub_images.items()]
            lines.append(f"  packed as sub-images: {', '.join(cut)}")
        for start, found in (("  ", self.problems), ("  note: ", notes)):
            for what, names in found.items():
                lines.append(f"{start}{len(names)} {what}: {listed(names, most)}")
        text = "\n".join(lines) + "\n"
        return text.encode(errors="backslashreplace").decode()  # names need not be UTF-8


@dataclass
class Packed:
    """What became of a clean image and its degraded ones.

    Args:
        name: the clean image's.
        files: path, size in bytes and time of change (ns) of each file, which say whether it is
            still the same.
        entries: what to write, by side.
        digests: of each file's content, by its path.
        problems: what is wrong, with which file.
    """

    name: str
    files: list[list[Any]]
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def check(plan: Plan, workers: int | None = None) -> Report:
    """Read every image of `plan` and say what is wrong; writes nothing.

    Raises:
        DataError: a folder is missing or holds no images.
    """
    source = _Source(plan.at_home())
    report = source.report()
    for packed in _packed(source, range(len(source)), workers, "checking"):
        report.add(packed.problems, packed.digests)
    return report


def pack(
    plan: Plan, output: str | Path, *, workers: int | None = None, leave_out: bool = False
) -> Report:
    """Write `lq.lmdb` and `gt.lmdb` (or `gt.lmdb` alone) below `output`; returns what was found.

    Images that stay whole are stored as they are, byte for byte; sub-images as PNG, named
    `<name>_s001` and so on. The folder appears once it is complete: until then everything is in
    `<output>.unfinished`, and a run that was interrupted, in whatever way, is continued there.
    Files that have changed or gone meanwhile are noticed.

    Args:
        plan: what to pack.
        output: the folder to write.
        workers: processes that read and encode; left out, one for each core.
        leave_out: whether to leave images out that have a problem; else the folder stays unfinished
            then.

    Raises:
        DataError: the folder already exists or is, holds or lies in an input, an image has a
            problem, another process writes the folder, or it cannot be written; the message says
            how to continue.
    """
    output = Path(output).expanduser()
    check_target(output, plan.inputs)
    plan = plan.at_home()
    source = _Source(plan)
    report = source.report()
    try:
        with closing(UnfinishedFolder(output, asdict(plan), list(source.stores))) as folder:
            finished = source.still_there(folder.records)
            for name in finished:
                report.add([], folder.records[name]["digests"])
            todo = [index for index, name in enumerate(source.order) if name not in finished]
            for packed in _packed(source, todo, workers, f"packing {output}", done=len(finished)):
                report.add(packed.problems, packed.digests)
                if leave_out or not packed.problems:
                    record = {"name": packed.name, "files": packed.files, "digests": packed.digests}
                    folder.add({**record, "whole": not packed.problems}, packed.entries)
            folder.flush()
            if report.problems and not leave_out:
                save_bytes_atomically(report.lines().encode(), folder.folder / "problems.txt")
                raise DataError(
                    f"{output} is not finished; some images cannot be used. "
                    f"{report.lines(NAMES_SHOWN)}"
                    f"All names are in {folder.folder / 'problems.txt'}. Put the files right and "
                    "give the same command again, which resumes from here; or add --leave-out to "
                    "do without these images."
                )
            records = [folder.records[name] for name in source.order if name in folder.records]
            if plan.sub_image:
                report.sub_images = {
                    side: sum(len(record["lines"].get(side, [])) for record in records)
                    for side in source.stores
                }
            folder.finish(records, report.lines())
    except (OSError, lmdb.Error) as error:
        raise DataError(
            f"{output} cannot be written: {cause_of(error)}. What is done is kept; the same "
            "command resumes from there."
        ) from error
    return report


class _Source:
    """Reads a clean image with all of its degraded ones, checks them and cuts them up."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        roots = {"lq": plan.lq, "gt": plan.gt}
        self.stores = {side: ImageFolder(root) for side, root in roots.items() if root}
        self.not_there = self._keep_listed(Path(plan.listed_in)) if plan.listed_in else []
        for store in self.stores.values():
            if not store.names:
                raise DataError(f"{store.root} holds no images.")
        clean = self.stores["gt"].names
        self.names = plan.names or ("{}", "{}")
        self.groups: dict[str, list[str]] = {} if plan.lq else {name: [] for name in clean}
        self.matching = Matching([], {}, [])
        if plan.lq:
            degraded = self.stores["lq"].names
            self.names = plan.names or matching_forms(degraded, clean)
            self.matching = compare_names(degraded, clean, *self.names)
            for lq, gt in self.matching.pairs:
                self.groups.setdefault(gt, []).append(lq)
        self.order = list(self.groups)

    def __len__(self) -> int:
        return len(self.order)

    def _keep_listed(self, path: Path) -> list[str]:
        """Keep the images that a file lists; returns what it lists and is not there."""
        try:
            paths = path.read_text(encoding="utf-8").split()
        except OSError as error:
            raise DataError(
                f"The list of images {path} cannot be read: {error.strerror}."
            ) from error
        wanted = {(path.parent / part).absolute() for part in paths}
        for store in self.stores.values():
            store.paths = {name: found for name, found in store.paths.items() if found in wanted}
            wanted -= set(store.paths.values())
        return sorted(map(str, wanted))

    def report(self) -> Report:
        """What the names alone tell."""
        counts = {side: len(store.names) for side, store in self.stores.items()}
        report = Report(counts, self.names)
        if self.not_there:
            report.problems[f"images in {self.plan.listed_in} are not there"] += self.not_there
        for problem, names in self.matching.problems.items():
            report.problems[problem] += names
        if not self.plan.spare_clean and self.matching.unused:
            unused = "clean images have no degraded one and are not packed"
            report.notes[unused] += self.matching.unused
        for store in self.stores.values():
            if store.problems:
                report.problems["names are not one file's"] += store.problems
            if store.other_files:
                report.notes["files are no images by their suffix"] += map(str, store.other_files)
        return report

    def still_there(self, records: dict[str, Record]) -> set[str]:
        """The images packed without a problem whose files have not changed, of records by name."""
        whole = {name for name in self.groups if name in records and records[name]["whole"]}
        return {name for name in whole if records[name]["files"] == self._files(name)}

    def _files(self, name: str) -> list[list[Any]]:
        degraded = [self.stores["lq"].paths[lq] for lq in self.groups[name]]
        files = [(path, path.stat()) for path in (self.stores["gt"].paths[name], *degraded)]
        return [[str(path), status.st_size, status.st_mtime_ns] for path, status in files]

    def __getitem__(self, index: int) -> Packed:
        """The entries to write, the digests of the files, and the problems with them."""
        name = self.order[index]
        packed = Packed(name, self._files(name))
        clean = self._read("gt", name, packed)
        if clean is None:
            packed.problems += [
                ("are not packed without their clean image", self.stores["lq"].location(lq))
                for lq in self.groups[name]
            ]
            return packed
        for lq in self.groups[name]:
            self._read("lq", lq, packed, size_of(clean))
        return packed

    def _read(self, side: str, name: str, packed: Packed, size: str | None = None) -> Image | None:
        store = self.stores[side]
        location = store.location(name)
        try:
            content = store.read(name)
            image = decode(content, location)
        except DataError as error:
            packed.problems.append(("cannot be read", str(error).removesuffix(".")))
            return None
        packed.digests[location] = hashlib.blake2b(content, digest_size=12).hexdigest()
        if size and size_of(image) != size:
            what = f"{location}: {size_of(image)}, its clean image {size}"
            packed.problems.append(("have another size than their clean image", what))
        elif min(image.shape[:2]) < self.plan.smallest:
            what = f"have a side shorter than {self.plan.smallest} pixels"
            packed.problems.append((what, f"{location}: {size_of(image)}"))
        elif len(name.splitlines()) != 1 or _length_as_key(name) > LONGEST_KEY:
            what = f"have a name of several lines, not in UTF-8 or of more than {LONGEST_KEY} bytes"
            packed.problems.append((what, location))
        else:
            suffix = Path(location).suffix.lower()
            entries = _entries(name, suffix, content, image, self.plan)
            packed.entries.setdefault(side, []).extend(entries)
        return image


def _length_as_key(name: str) -> float:
    try:
        return len(f"{name}_s001".encode())
    except UnicodeEncodeError:
        return math.inf


def _entries(name: str, suffix: str, content: bytes, image: Image, plan: Plan) -> list[Entry]:
    """The entry of an image, or those of its sub-images."""
    height, width = image.shape[:2]
    if not plan.sub_image:
        return [Entry(name, f"{name}{suffix} ({height},{width},3) 0", content)]
    entries = []
    windows = [(top, left) for top in _starts(height, plan) for left in _starts(width, plan)]
    for number, (top, left) in enumerate(windows, 1):
        key = f"{name}_s{number:03}"
        crop = image[top : top + plan.sub_image, left : left + plan.sub_image]
        if len(windows) > 1:
            suffix = ".png"
            content = cv2.imencode(suffix, crop, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        entries.append(Entry(key, f"{key}{suffix} ({crop.shape[0]},{crop.shape[1]},3) 1", content))
    return entries


def _starts(length: int, plan: Plan) -> list[int]:
    """Where sub-images begin along a side; the last one ends with the image."""
    last = max(length - plan.sub_image, 0)
    return [*range(0, last, plan.sub_image - plan.overlap), last]


def _packed(
    source: _Source, indices: range | list[int], workers: int | None, what: str, done: int = 0
) -> Iterator[Packed]:
    """What becomes of `indices`, in order, by several processes, with a progress bar."""
    if not indices:
        return
    from torch.utils.data import DataLoader  # slow to import

    loader: DataLoader[Any] = DataLoader(
        source,  # type: ignore[arg-type]  # it has what a data set must have
        sampler=indices,
        batch_size=None,
        num_workers=available_cores() if workers is None else workers,
        worker_init_fn=_begin_worker,
    )
    try:
        total = done + len(indices)
        yield from tqdm(loader, what, total, initial=done, unit="image", disable=None)
    except RuntimeError as error:  # the loader's, when a worker is gone
        raise DataError(
            f"A process that reads images ended: {error}. Fewer of them (--workers) may do."
        ) from error


def _begin_worker(worker: int) -> None:
    listen_to_parent_alone(worker)
    cv2.setNumThreads(0)
