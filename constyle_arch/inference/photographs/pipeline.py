"""Restoring many photographs; one that fails does not stop the others.

While one is restored, the next is read and the one before is written.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

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
from constyle_arch.registry import require_basicsr
from constyle_arch.reporting.pictures import comparison, encoded
from constyle_arch.reporting.scores import INPUT, Row

METRICS = {"psnr": "calculate_psnr", "ssim": "calculate_ssim"}

Read: TypeAlias = tuple[Photograph, Photograph | None]
"""A degraded photograph, and its clean image where there is one."""


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


@dataclass
class Pipeline:
    """Restores photographs and writes them; those whose result is there are skipped.

    Args:
        restorer: how one is restored.
        weights_time: when the weights were written, in seconds; older results are reported.
        overwrite: restore again what is there.
        truths: the clean image's file by the photograph's; what is restored is scored then, and
            what was skipped.
        max_pixels: see `read_photograph`.
        quality: see `write_photograph`.
    """

    restorer: Restorer
    weights_time: float = 0.0
    overwrite: bool = False
    truths: Mapping[Path, Path] | None = None
    max_pixels: float = MAX_PIXELS
    quality: int = QUALITY
    summary: Summary = field(default_factory=Summary, init=False)

    def run(self, jobs: Sequence[Job]) -> Summary:
        """Restore each photograph.

        Raises:
            RunError: there are truths and BasicSR, which scores, is not installed.
        """
        if self.truths is not None:
            require_basicsr("--gt")
        with (
            ThreadPoolExecutor(1) as writer,
            tqdm(total=len(jobs), unit="image", dynamic_ncols=True, disable=None) as bar,
        ):
            writing: Future[None] | None = None
            for job, reading in _read_ahead(self._read, jobs):
                bar.set_postfix_str(job.source.name)
                with self._noting(job):
                    read = reading.result()
                    if read is None:
                        # there, so that scores keep the photographs' order
                        writing = writer.submit(self._skip, job)
                    else:
                        restored = self.restorer.restored(read[0])
                        if writing is not None:
                            writing.result()  # one result at a time waits to be written
                        writing = writer.submit(self._write, job, restored, *read)
                bar.update()
        return self.summary

    @contextmanager
    def _noting(self, job: Job) -> Iterator[None]:
        """Note what goes wrong with a photograph; it must not stop the others."""
        try:
            yield
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            known = isinstance(error, UserError | OSError | RuntimeError | MemoryError)
            text = text if known else f"{type(error).__name__}: {text}"
            self.summary.failed[str(job.source)] = text.removeprefix(f"{job.source} ")
            tqdm.write(f"{job.source}: {self.summary.failed[str(job.source)]}")

    def _read(self, job: Job) -> Read | None:
        """A photograph and its clean image; None where the result is there already."""
        if job.target.is_file() and not self.overwrite:
            return None
        if job.target.is_dir():
            raise DataError(f"cannot be written: {job.target} is a folder.")
        return self._read_source(job)

    def _read_source(self, job: Job) -> Read:
        degraded = read_photograph(job.source, self.max_pixels)
        if self.truths is None:
            return degraded, None
        if job.source not in self.truths:
            self.summary.unscored.append(job.source)
            return degraded, None
        clean = read_photograph(self.truths[job.source], self.max_pixels)
        check_same_size(str(job.source), degraded, "its clean image", clean)
        return degraded, clean

    def _skip(self, job: Job) -> None:
        """Note, and score, a result that is there already."""
        with self._noting(job):
            self.summary.skipped += 1
            if self.truths is not None:
                degraded, clean = self._read_source(job)
                there = read_photograph(job.target, self.max_pixels)
                check_same_size(str(job.source), degraded, f"{job.target}, not of it,", there)
                if clean:
                    self.summary.scores.append(scored(job.name, degraded, there, clean))
            if job.target.stat().st_mtime < max(self.weights_time, job.source.stat().st_mtime):
                self.summary.older.append(job.target)

    def _write(
        self, job: Job, restored: Photograph, degraded: Photograph, clean: Photograph | None
    ) -> None:
        """Write a result and, where asked for, the comparison; score it with its clean image."""
        with self._noting(job):
            if lost := " and ".join(lost_in(restored, job.target.suffix)):
                self.restorer.say(
                    f"{job.target}: this kind of file cannot hold {lost} of it; left out."
                )
            for what in degraded.left_out:
                self.restorer.say(f"{job.source}: {what}; left out.")
            row = scored(job.name, degraded, restored, clean) if clean else None
            if job.comparison:
                _write_comparison(job.comparison, restored, degraded, clean, row)
            # last: once it is there, all is
            write_photograph(restored, job.target, self.quality)
            self.summary.restored += 1
            self.summary.scores += [row] if row else []


def _read_ahead(
    read: Callable[[Job], Read | None], jobs: Sequence[Job]
) -> Iterator[tuple[Job, "Future[Read | None]"]]:
    """Each job with what is read for it; while one is worked on, the next one is read."""
    ahead: deque[tuple[Job, Future[Read | None]]] = deque()
    with ThreadPoolExecutor(1) as reader:
        for job in jobs:
            ahead.append((job, reader.submit(read, job)))
            if len(ahead) > 1:
                yield ahead.popleft()
        yield from ahead


def check_same_size(name: str, photograph: Photograph, what: str, other: Photograph) -> None:
    """Refuse another version of a photograph that has another size.

    Raises:
        DataError: it has; the message calls them `name` and `what`.
    """
    if other.pixels.shape[:2] != photograph.pixels.shape[:2]:
        raise DataError(
            f"{name} is {size_of(photograph.pixels)} pixels and {what} {size_of(other.pixels)}."
        )


def scored(name: str, degraded: Photograph, restored: Photograph, clean: Photograph) -> Row:
    """PSNR and SSIM of a degraded and of a restored photograph, by BasicSR, as a row for `name`."""
    from basicsr.metrics import calculate_metric

    row: dict[str, str | float | None] = {"image": name}
    for prefix, photograph in ((INPUT, degraded), ("", restored)):
        pair = {"img": photograph.picture, "img2": clean.picture}
        for metric, function in METRICS.items():
            score = calculate_metric(pair, {"type": function, "crop_border": 0})
            row[f"{prefix}{metric}"] = float(score)
    return row


def _write_comparison(
    path: Path,
    restored: Photograph,
    degraded: Photograph,
    clean: Photograph | None,
    row: Row | None,
) -> None:
    """Write input, restored and perhaps clean image side by side, labelled with their scores."""
    pictures = {}
    for label, prefix, photograph in (("input", INPUT, degraded), ("restored", "", restored)):
        if row is not None:
            label += f" {row[f'{prefix}psnr']:.2f} dB, SSIM {row[f'{prefix}ssim']:.4f}"
        pictures[label] = photograph.picture
    if clean is not None:
        pictures["clean"] = clean.picture
    path.parent.mkdir(parents=True, exist_ok=True)
    save_bytes_atomically(encoded(comparison(pictures), ".jpg"), path)
