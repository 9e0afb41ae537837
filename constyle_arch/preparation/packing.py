"""Packing folders of images into LMDBs: every image checked, in parallel, going on where it was interrupted."""

import fcntl
import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import lmdb
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from constyle_arch.atomic import save_bytes_atomically
from constyle_arch.data.image_stores import ImageFolder
from constyle_arch.data.pairing import Matching, compare_names
from constyle_arch.errors import NAMES_SHOWN, DataError, listed
from constyle_arch.images import Image, decode, size_of

Packed: TypeAlias = dict[str, Any]
"""What became of a clean image (`name`) and its degraded ones: `entries` for each side, `digests`, `problems`."""

INITIAL_MAP_SIZE = 2**30
LONGEST_KEY = 511
"""In bytes; LMDB's limit."""

COMMIT_BYTES = 2**25
"""Images are written in transactions of about this size."""

UNFINISHED = ".unfinished"
JOURNAL = "journal.jsonl"
PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What to pack.

    Args:
        gt: folder of the clean images, see `image_stores.ImageFolder`.
        lq: folder of the degraded images; None where there are only clean ones.
        names: forms of the degraded and of the clean names, see `pairing.compare_names`.
        listed_in: a file with the paths of the images to pack, relative to its folder; None for all images.
        sub_image: side of the square sub-images to cut larger images into, in pixels; 0 keeps images whole.
        overlap: by how many pixels neighbouring sub-images overlap at least.
        smallest: a side shorter than this many pixels is reported.
        spare_clean: whether it is as expected that clean images have no degraded ones.
    """

    gt: str
    lq: str | None = None
    names: tuple[str, str] = ("{}", "{}")
    listed_in: str | None = None
    sub_image: int = 0
    overlap: int = 0
    smallest: int = 1
    spare_clean: bool = False

    def __post_init__(self) -> None:
        if self.sub_image < 0:
            raise DataError(f"The sub-images' size is {self.sub_image}; it must be at least 1, or 0 for whole images.")
        if self.sub_image and not 0 <= self.overlap < self.sub_image:
            raise DataError(
                f"The overlap is {self.overlap}; it must be in [0, {self.sub_image}), below the sub-images' size."
            )

    @property
    def names_packed(self) -> tuple[str, str]:
        """The forms of the names in the LMDBs, where sub-images have a number at the end."""
        if not self.sub_image or not any(name.endswith("*") for name in self.names):
            return self.names
        return f"{self.names[0]}_s{{}}", f"{self.names[1]}_s{{}}"


@dataclass
class Report:
    """What was found.

    Args:
        counts: how many images each side has.
        problems: what is wrong, and with which files.
        notes: what is worth knowing, and about which files.
        digests: the files of each content.
    """

    counts: dict[str, int]
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    digests: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, packed: "Packed") -> None:
        """Take in what an image showed."""
        for what, name in packed["problems"]:
            self.problems[what].append(name)
        for location, digest in packed["digests"].items():
            self.digests[digest].append(location)

    def lines(self, most: int | None = None) -> str:
        """The report as text; of the names the first `most`, or all."""
        duplicates = [" = ".join(names) for names in self.digests.values() if len(names) > 1]
        notes = {**self.notes, **({"groups of files have the same content": duplicates} if duplicates else {})}
        lines = [", ".join(f"{count} {KINDS[side]} images" for side, count in self.counts.items()) + "."]
        lines += [f"  {len(names)} {what}: {listed(names, most)}" for what, names in self.problems.items()]
        lines += [f"  note: {len(names)} {what}: {listed(names, most)}" for what, names in notes.items()]
        return "\n".join(lines) + "\n"


KINDS = {"lq": "degraded", "gt": "clean"}


def check(plan: Plan, workers: int | None = None) -> Report:
    """Read every image of `plan` and say what is wrong; writes nothing.

    Raises:
        DataError: a folder is missing or holds no images.
    """
    source = _Source(plan)
    report = source.report()
    for packed in _packed(source, range(len(source)), workers, "checking"):
        report.add(packed)
    return report


def pack(plan: Plan, output: str | Path, *, workers: int | None = None, leave_out: bool = False) -> Report:
    """Write `lq.lmdb` and `gt.lmdb` (or `gt.lmdb` alone) below the folder `output`.

    Images that stay whole are stored as they are, byte for byte; sub-images as PNG, named `<name>_s001` and so on.
    The folder appears once it is complete: until then everything is in `<output>.unfinished`, and a run that was
    interrupted, in whatever way, is continued there.

    Args:
        plan: what to pack.
        output: the folder to write.
        workers: processes that read and encode; left out, one for each core.
        leave_out: whether to leave images out that have a problem; else the folder stays unfinished then.

    Returns:
        What was found and left out.

    Raises:
        DataError: the folder is there already, an image has a problem, another process writes the folder, or it
            cannot be written; the message says how to go on.
    """
    output = Path(output)
    if output.exists():
        raise DataError(f"{output} is there already; remove it to make it anew.")
    source = _Source(plan)
    report = source.report()
    unfinished = output.with_name(output.name + UNFINISHED)
    try:
        with closing(_Writer(unfinished, plan, list(source.stores))) as writer:
            for record in writer.records:
                report.add(record)
            todo = [index for index in range(len(source)) if source.name(index) not in writer.finished]
            for packed in _packed(source, todo, workers, f"packing {output}", done=len(source) - len(todo)):
                report.add(packed)
                if leave_out or not packed["problems"]:
                    writer.add(packed)
            writer.flush()
            if report.problems and not leave_out:
                save_bytes_atomically(report.lines().encode(), unfinished / "problems.txt")
                raise DataError(
                    f"{output} is not finished; some images cannot be used. {report.lines(NAMES_SHOWN)}"
                    f"All names are in {unfinished / 'problems.txt'}. Put the files right and give the same command "
                    "again, which goes on from here; or add --leave-out to do without these images."
                )
            writer.write_meta_info()
        save_bytes_atomically(report.lines().encode(), unfinished / "report.txt")
        for name in (JOURNAL, PLAN, "problems.txt", *(f"{side}.lmdb/lock.mdb" for side in source.stores)):
            (unfinished / name).unlink(missing_ok=True)
        unfinished.rename(output)
    except (OSError, lmdb.Error) as error:
        raise DataError(
            f"{unfinished} cannot be written: {error}. What is done is kept; the same command goes on from there."
        ) from error
    return report


class _Source(Dataset[Packed]):
    """Reads a clean image with all of its degraded ones, checks them and cuts them up."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stores = {side: ImageFolder(root) for side, root in (("lq", plan.lq), ("gt", plan.gt)) if root}
        self.not_there = self._keep_listed(Path(plan.listed_in)) if plan.listed_in else []
        for store in self.stores.values():
            if not store.names:
                raise DataError(f"{store.root} holds no images.")
        self.groups: dict[str, list[str]] = {name: [] for name in self.stores["gt"].names}
        self.matching = Matching([], {}, [])
        if plan.lq:
            self.matching = compare_names(self.stores["lq"].names, self.stores["gt"].names, *plan.names)
            self.groups = {}
            for lq, gt in self.matching.pairs:
                self.groups.setdefault(gt, []).append(lq)
        self.order = list(self.groups)

    def __len__(self) -> int:
        return len(self.order)

    def name(self, index: int) -> str:
        """The clean image's name."""
        return self.order[index]

    def _keep_listed(self, path: Path) -> list[str]:
        """Keep the images that a file lists; returns what it lists and is not there."""
        try:
            wanted = {path.parent / part for part in path.read_text(encoding="utf-8").split()}
        except OSError as error:
            raise DataError(f"The list of images {path} cannot be read: {error.strerror}.") from error
        for store in self.stores.values():
            store.paths = {name: found for name, found in store.paths.items() if found in wanted}
            wanted -= set(store.paths.values())
        return sorted(map(str, wanted))

    def report(self) -> Report:
        """What the names alone tell."""
        report = Report({side: len(store.names) for side, store in self.stores.items()})
        if self.not_there:
            report.problems[f"images in {self.plan.listed_in} are not there"] += self.not_there
        for problem, names in self.matching.problems.items():
            report.problems[problem] += names
        if not self.plan.spare_clean and self.matching.unused:
            report.notes["clean images have no degraded one and are not packed"] += self.matching.unused
        for store in self.stores.values():
            if store.problems:
                report.problems["names are not one file's"] += store.problems
            if store.other_files:
                report.notes["files are no images by their suffix"] += map(str, store.other_files)
        return report

    def __getitem__(self, index: int) -> Packed:
        """The entries to write, the digests of the files, and the problems with them."""
        name = self.order[index]
        packed: Packed = {"name": name, "entries": {}, "digests": {}, "problems": []}
        clean = self._read("gt", name, packed)
        if clean is None:
            packed["problems"] += [
                ("are not packed without their clean image", self.stores["lq"].location(lq)) for lq in self.groups[name]
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
            packed["problems"].append(("cannot be read", str(error).removesuffix(".")))
            return None
        packed["digests"][location] = hashlib.blake2b(content, digest_size=12).hexdigest()
        if size and size_of(image) != size:
            what = f"{location}: {size_of(image)}, its clean image {size}"
            packed["problems"].append(("have another size than their clean image", what))
        elif min(image.shape[:2]) < self.plan.smallest:
            what = f"have a side shorter than {self.plan.smallest} pixels"
            packed["problems"].append((what, f"{location}: {size_of(image)}"))
        elif "\n" in name or len(name.encode()) + len("_s001") > LONGEST_KEY:
            packed["problems"].append((f"have a name of several lines or more than {LONGEST_KEY} bytes", location))
        else:
            suffix = Path(location).suffix.lower()
            packed["entries"].setdefault(side, []).extend(_entries(name, suffix, content, image, self.plan))
        return image


def _entries(name: str, suffix: str, content: bytes, image: Image, plan: Plan) -> list[tuple[str, str, bytes]]:
    """(key, line of the meta file, content) of an image or of its sub-images."""
    height, width = image.shape[:2]
    if not plan.sub_image:
        return [(name, f"{name}{suffix} ({height},{width},3) 0", content)]
    entries = []
    windows = [(top, left) for top in _starts(height, plan) for left in _starts(width, plan)]
    for number, (top, left) in enumerate(windows, 1):
        key = f"{name}_s{number:03}"
        crop = image[top : top + plan.sub_image, left : left + plan.sub_image]
        if len(windows) > 1:
            suffix = ".png"
            content = cv2.imencode(suffix, crop, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        entries.append((key, f"{key}{suffix} ({crop.shape[0]},{crop.shape[1]},3) 1", content))
    return entries


def _starts(length: int, plan: Plan) -> list[int]:
    """Where sub-images begin along a side; the last one ends with the image."""
    last = max(length - plan.sub_image, 0)
    return [*range(0, last, plan.sub_image - plan.overlap), last]


def _packed(
    source: _Source, indices: range | list[int], workers: int | None, what: str, done: int = 0
) -> Iterator[Packed]:
    """What becomes of each of `indices`, computed by several processes, in order, with a progress bar."""
    if not indices:
        return
    loader: DataLoader[Any] = DataLoader(
        source,
        sampler=indices,
        batch_size=None,
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # without batches it is given single items
        num_workers=len(os.sched_getaffinity(0)) if workers is None else workers,
        worker_init_fn=_use_one_thread,
    )
    try:
        yield from tqdm(loader, initial=done, total=done + len(indices), desc=what, unit="image", disable=None)
    except RuntimeError as error:  # the loader's, when a worker is gone
        raise DataError(f"A process that reads images ended: {error}. Fewer of them (--workers) may do.") from error


def _as_it_is(packed: Packed) -> Packed:
    return packed


def _use_one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)


class _Writer:
    """Writes entries into an LMDB for each side, and a line into a journal for each image once it is on disk."""

    def __init__(self, folder: Path, plan: Plan, sides: list[str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = (folder / JOURNAL).open("a+", encoding="utf-8", errors="replace")
        try:
            fcntl.lockf(self.journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.journal.close()
            raise DataError(f"Another process is writing {folder}.") from None
        self._begin_anew_unless_of(plan)
        self.records = self._read_journal()
        self.finished = {record["name"] for record in self.records}
        self.lines: dict[str, list[str]] = {side: [] for side in sides}
        for record in self.records:
            self._keep_lines(record)
        self.pending: list[Packed] = []
        self.pending_bytes = 0
        self.environments: dict[str, lmdb.Environment] = {}

    def close(self) -> None:
        """Close the files, and so let go of the folder."""
        for environment in self.environments.values():
            environment.close()
        self.journal.close()

    def _begin_anew_unless_of(self, plan: Plan) -> None:
        text, written = json.dumps(asdict(plan)), self.folder / PLAN
        if written.is_file() and written.read_text(encoding="utf-8") == text:
            print(f"{self.folder} is there: going on.")
            return
        self.journal.truncate(0)
        for other in self.folder.glob("*.lmdb"):
            shutil.rmtree(other)
        save_bytes_atomically(text.encode(), written)

    def _read_journal(self) -> list[Packed]:
        """The whole lines of the journal; a last one that a kill cut off is removed."""
        self.journal.seek(0)
        lines = self.journal.readlines()
        whole = [line for line in lines if line.endswith("\n")]
        if whole != lines:
            self.journal.truncate(sum(len(line.encode()) for line in whole))
        return [json.loads(line) for line in whole]

    def add(self, packed: Packed) -> None:
        """Write the entries of an image, soon."""
        self.pending.append(packed)
        self.pending_bytes += sum(len(entry[2]) for entries in packed["entries"].values() for entry in entries)
        if self.pending_bytes >= COMMIT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending to disk."""
        for side in self.lines:
            entries = [entry for packed in self.pending for entry in packed["entries"].get(side, [])]
            _put(self._environment(side), {key.encode(): content for key, _, content in entries})
        for packed in self.pending:
            lines = {side: [line for _, line, _ in entries] for side, entries in packed["entries"].items()}
            record = {**packed, "entries": lines}
            self.journal.write(json.dumps(record) + "\n")
            self._keep_lines(record)
        self.journal.flush()
        os.fsync(self.journal.fileno())
        self.pending, self.pending_bytes = [], 0

    def write_meta_info(self) -> None:
        """Write BasicSR's list of the keys into each LMDB, and make sure that the two agree."""
        for side in self.lines:
            found = self._environment(side).stat()["entries"]
            if found != len(self.lines[side]):
                raise DataError(
                    f"{self.folder / side}.lmdb holds {found} entries for {len(self.lines[side])} images: two images "
                    "got one key, or another program wrote there. Rename images that end in _s001 and the like, "
                    f"remove {self.folder} and start again."
                )
            text = "".join(f"{line}\n" for line in sorted(self.lines[side]))
            save_bytes_atomically(text.encode(), self.folder / f"{side}.lmdb" / "meta_info.txt")

    def _keep_lines(self, record: Packed) -> None:
        for side, lines in record["entries"].items():
            self.lines[side] += lines

    def _environment(self, side: str) -> lmdb.Environment:
        if side not in self.environments:  # opened only now: the worker processes were forked without it
            self.environments[side] = lmdb.open(str(self.folder / f"{side}.lmdb"), map_size=INITIAL_MAP_SIZE)
        return self.environments[side]


def _put(environment: lmdb.Environment, contents: dict[bytes, bytes]) -> None:
    """Write in one transaction; the map grows as needed."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, content in contents.items():
                    transaction.put(key, content)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
