"""Restoring many photographs; one that fails does not stop the others.

While one is restored, the next is read and the one before is written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from constyle_arch.errors import DataError, UserError
from constyle_arch.files import save_bytes_atomically
from constyle_arch.images import MAX_PIXELS, size_of
from constyle_arch.inference.photographs.finding import Job
from constyle_arch.inference.photographs.photograph import (
    QUALITY,
    Photograph,
    lost_in,
    read_photograph,
    write_photograph,
)
from constyle_arch.inference.photographs.restorer import Restorer
from constyle_arch.inference.photographs.scoring import as_picture, scored
from constyle_arch.registry import require_basicsr
from constyle_arch.reporting.pictures import comparison, encoded
from constyle_arch.reporting.scores import INPUT, Row


@dataclass
class Summary:
    """What became of some photographs.

    Args:
        restored: how many were.
        skipped: how many were there already.
        older: the results among those that are older than their photograph or the weights.
        unscored: restored photographs that have no truth, where there are truths.
        failed: what went wrong, by the file's name.
        scores: of the photographs that have a truth.
    """

    restored: int = 0
    skipped: int = 0
    older: list[Path] = field(default_factory=list)
    unscored: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    scores: list[Row] = field(default_factory=list)


def restore_photographs(
    jobs: Sequence[Job],
    restorer: Restorer,
    *,
    weights_time: float = 0.0,
    overwrite: bool = False,
    compare: bool = False,
    truths: Mapping[Path, Path] | None = None,
    max_pixels: float = MAX_PIXELS,
    quality: int = QUALITY,
) -> Summary:
    """Restore each photograph and write it; those whose result is there are skipped.

    Args:
        jobs: what to restore.
        restorer: how.
        weights_time: when the weights were written, in seconds; older results are reported.
        overwrite: restore again what is there.
        compare: also write a picture of input and restored image, and of the truth where there is
            one.
        truths: the clean image's file by the photograph's; what is restored is scored then, and
            what was skipped.
        max_pixels: see `read_photograph`.
        quality: see `write_photograph`.

    Raises:
        RunError: there are truths and BasicSR, which scores, is not installed.
    """
    if truths is not None:
        require_basicsr("--gt")
    files = _Files(restorer.say, weights_time, overwrite, compare, truths, max_pixels, quality)
    with (
        ThreadPoolExecutor(1) as writer,
        tqdm(total=len(jobs), unit="image", dynamic_ncols=True, disable=None) as bar,
    ):
        writing: Future[None] | None = None
        for job, reading in _read_ahead(files.read, jobs):
            bar.set_postfix_str(job.source.name)
            with files.noting(job):
                found = reading.result()
                if found is None:
                    # there, so that scores keep the photographs' order
                    writing = writer.submit(files.skip, job)
                else:
                    restored = restorer.restored(found.degraded)
                    if writing is not None:
                        writing.result()  # one result at a time waits to be written
                    writing = writer.submit(files.write, job, restored, found)
            bar.update()
    return files.summary


class _Read(NamedTuple):
    degraded: Photograph
    clean: Photograph | None


def _read_ahead(
    read: Callable[[Job], _Read | None], jobs: Sequence[Job]
) -> Iterator[tuple[Job, "Future[_Read | None]"]]:
    """Each job with what is read for it; while one is worked on, the next one is read."""
    with ThreadPoolExecutor(1) as reader:
        ahead: tuple[Job, Future[_Read | None]] | None = None
        for job in jobs:
            current, ahead = ahead, (job, reader.submit(read, job))
            if current is not None:
                yield current
        if ahead is not None:
            yield ahead


@dataclass
class _Files:
    """Reads, scores and writes, as `restore_photographs` is asked to."""

    say: Callable[[str], None]
    weights_time: float
    overwrite: bool
    compare: bool
    truths: Mapping[Path, Path] | None
    max_pixels: float
    quality: int
    summary: Summary = field(default_factory=Summary)

    @contextmanager
    def noting(self, job: Job) -> Iterator[None]:
        """Note what goes wrong with a photograph; it must not stop the others."""
        try:
            yield
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            known = isinstance(error, UserError | OSError | RuntimeError | MemoryError)
            text = text if known else f"{type(error).__name__}: {text}"
            self.summary.failed[str(job.source)] = text.removeprefix(f"{job.source} ")
            tqdm.write(f"{job.source}: {self.summary.failed[str(job.source)]}")

    def read(self, job: Job) -> _Read | None:
        """A photograph and its clean image; None where the result is there already."""
        if job.target.is_file() and not self.overwrite:
            return None
        if job.target.is_dir():
            raise DataError(f"cannot be written: {job.target} is a folder.")
        degraded = read_photograph(job.source, self.max_pixels)
        return _Read(degraded, self._clean(job, degraded))

    def skip(self, job: Job) -> None:
        """Note, and score, a result that is there already."""
        with self.noting(job):
            self.summary.skipped += 1
            if self.truths is not None:
                self._score_result(job)
            if job.target.stat().st_mtime < max(self.weights_time, job.source.stat().st_mtime):
                self.summary.older.append(job.target)

    def write(self, job: Job, restored: Photograph, read: _Read) -> None:
        """Write a result and, with `compare`, the picture; score it with its clean image."""
        with self.noting(job):
            if lost := " and ".join(lost_in(restored, job.target.suffix)):
                self.say(f"{job.target}: this kind of file cannot hold {lost} of it; left out.")
            for what in read.degraded.left_out:
                self.say(f"{job.source}: {what}; left out.")
            row = scored(job.name, read.degraded, restored, read.clean) if read.clean else None
            if self.compare:
                _write_comparison(job.comparison, restored, read, row)
            write_photograph(restored, job.target, self.quality)  # last: once it is there, all is
            self.summary.restored += 1
            self.summary.scores += [row] if row else []

    def _clean(self, job: Job, photograph: Photograph) -> Photograph | None:
        """The clean version of a photograph, where there is one."""
        if self.truths is None:
            return None
        if job.source not in self.truths:
            self.summary.unscored.append(job.source)
            return None
        clean = read_photograph(self.truths[job.source], self.max_pixels)
        if clean.pixels.shape[:2] != photograph.pixels.shape[:2]:
            raise DataError(
                f"is {size_of(photograph.pixels)} pixels and its clean image "
                f"{size_of(clean.pixels)}."
            )
        return clean

    def _score_result(self, job: Job) -> None:
        photograph = read_photograph(job.source, self.max_pixels)
        there = read_photograph(job.target, self.max_pixels)
        if there.pixels.shape[:2] != photograph.pixels.shape[:2]:
            raise DataError(
                f"is {size_of(photograph.pixels)} pixels and {job.target}, not of it, "
                f"{size_of(there.pixels)}."
            )
        if clean := self._clean(job, photograph):
            self.summary.scores.append(scored(job.name, photograph, there, clean))


def _write_comparison(path: Path, restored: Photograph, read: _Read, row: Row | None) -> None:
    """Write input, restored and perhaps clean image side by side, labelled with their scores."""
    labels = {"input": "input", "restored": "restored"}
    if row is not None:
        for label, prefix in (("input", INPUT), ("restored", "")):
            labels[label] += f" {row[f'{prefix}psnr']:.2f} dB, SSIM {row[f'{prefix}ssim']:.4f}"
    pictures = {
        labels["input"]: as_picture(read.degraded),
        labels["restored"]: as_picture(restored),
    }
    if read.clean is not None:
        pictures["clean"] = as_picture(read.clean)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_bytes_atomically(encoded(comparison(pictures), ".jpg"), path)
