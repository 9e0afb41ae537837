"""Restoring photographs one by one, in the memory there is; one that fails does not stop the
others.

While one is restored, the next is read and the one before is written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from constyle_arch.allocator import give_freed_memory_back
from constyle_arch.archs.layers import channels_of
from constyle_arch.archs.local_statistics import depends_on_tiles
from constyle_arch.errors import DataError, RunError, UserError, listed
from constyle_arch.files import save_bytes_atomically
from constyle_arch.images import MAX_PIXELS, FloatImage, size_of, to_8_bit
from constyle_arch.inference.memory import fitting_tile, is_out_of_memory, smaller_tile
from constyle_arch.inference.photographs.finding import Job
from constyle_arch.inference.photographs.photograph import (
    QUALITY,
    Photograph,
    lost_in,
    read_photograph,
    write_photograph,
)
from constyle_arch.inference.restoring import OVERLAP, restore, tensors_not_finite
from constyle_arch.registry import require_basicsr
from constyle_arch.reporting.pictures import Picture, comparison, encoded
from constyle_arch.reporting.scores import INPUT, Row
from constyle_arch.tiles import COST, LARGE_ENOUGH, largest_overlap, multiple_of

SCORES = {
    "psnr": {"type": "calculate_psnr", "crop_border": 0},
    "ssim": {"type": "calculate_ssim", "crop_border": 0},
}


MEAN_MOVES = 0.25
"""How far a channel's mean, in [0, 1], may move unreported; thick haze moves it so far."""


@dataclass
class Restorer:
    """Restores photographs with a network, in tiles where memory would not do.

    Args:
        network: on the device to compute on.
        tile: side of the tiles; None for whole images, or the largest tiles that fit into memory.
        overlap: of neighbouring tiles, in pixels; less where small tiles leave no room for it.
        precision: see `inference.restore`.
        self_ensemble: see `inference.restore`.
        strength: how much of the restoration is taken: 1 all of it, 0.5 the mean of it and the
            input, 0 nothing.
        say: takes what is worth knowing, a line at a time.
        progress: see `inference.restore`.
    """

    network: nn.Module
    tile: int | None = None
    overlap: int = OVERLAP
    precision: torch.dtype = torch.float32
    self_ensemble: bool = False
    strength: float = 1.0
    say: Callable[[str], None] = print
    progress: bool | Callable[[int, int], object] = True
    _fitting: dict[tuple[int, int], int | None] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    def restored(self, photograph: Photograph) -> Photograph:
        """The restored photograph, with the alpha, profile and EXIF data of the degraded one.

        Where half precision gives numbers that are not finite, or a mean colour far from the
        input's, it is restored again in float32.

        Raises:
            DataError: it has colours, and the network restores gray images.
            RunError: memory does not do for the smallest tiles, or the result holds numbers that
                are not finite.
        """
        if channels_of(self.network) == 1 and not photograph.is_gray:
            raise DataError(
                "it has colours, and the network restores gray images; convert it, or take other "
                "weights."
            )
        colors = photograph.colors
        result = self._computed(colors, self.precision)
        wrong = _what_looks_wrong(colors, result)
        if wrong and self.precision != torch.float32:
            self.say(
                f"In {str(self.precision).removeprefix('torch.')} {wrong}; restored again in "
                "float32."
            )
            result = self._computed(colors, torch.float32)
            wrong = _what_looks_wrong(colors, result)
        if not np.isfinite(result).all():
            raise RunError(
                f"the restored image holds numbers that are not finite; {self._reason()}."
            )
        if wrong:
            self.say(f"In the restored photograph {wrong}; look whether it should.")
        if self.strength != 1:
            result = colors + np.float32(self.strength) * (result - colors)
        return photograph.with_colors(result)

    def _computed(self, colors: FloatImage, precision: torch.dtype) -> FloatImage:
        """What the network makes of an image, in smaller tiles where memory runs out."""
        tile = self._tile(colors)
        image = colors[..., 0] if channels_of(self.network) == 1 else colors
        while True:
            try:
                result = restore(
                    self.network,
                    image,
                    tile=tile,
                    overlap=self._overlap(tile),
                    precision=precision,
                    self_ensemble=self.self_ensemble,
                    progress=self.progress,
                )
                return np.stack([result] * 3, axis=2) if result.ndim == 2 else result
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            tile = self._after_memory_ran_out(tile, colors)

    def _reason(self) -> str:
        """Why a restored image is not finite, and what to do."""
        if names := tensors_not_finite(self.network):
            return f"so do the weights, in {listed(names, 3)}: take an earlier checkpoint"
        return "the weights are finite, but the network overflows: take other weights"

    def _overlap(self, tile: int | None) -> int:
        return (
            self.overlap
            if tile is None
            else min(self.overlap, largest_overlap(tile, multiple_of(self.network)))
        )

    def _tile(self, colors: FloatImage) -> int | None:
        """The side of the tiles for an image; it is worked out once for each size."""
        if self.tile is not None:
            return self.tile
        size = colors.shape[0], colors.shape[1]
        if size not in self._fitting:
            self._fitting[size] = fitting_tile(self.network, *size)
            if tile := self._fitting[size]:
                images = f"Images of {size_of(colors)} pixels"
                self.say(
                    f"{images} are restored in tiles of {tile}: memory would not "
                    f"do{self._cost(tile)}."
                )
        return self._fitting[size]

    def _after_memory_ran_out(self, tile: int | None, colors: FloatImage) -> int:
        smaller = smaller_tile(self.network, tile, colors.shape[0], colors.shape[1])
        if smaller is None:
            raise RunError(f"memory ran out{f', in tiles of {tile} pixels too' if tile else ''}.")
        if self.device.type == "cpu":
            give_freed_memory_back()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.say(f"Memory ran out; continuing in tiles of {smaller}{self._cost(smaller)}.")
        if self.tile is None:
            self._fitting[(colors.shape[0], colors.shape[1])] = smaller
        else:
            self.tile = smaller
        return smaller

    def _cost(self, tile: int) -> str:
        return f" ({COST})" if tile < LARGE_ENOUGH and depends_on_tiles(self.network, tile) else ""


def _what_looks_wrong(colors: FloatImage, result: FloatImage) -> str:
    """What of a result no restoration should bring about, in words; empty where nothing is."""
    if not np.isfinite(result).all():
        return "the result holds numbers that are not finite"
    before, after = colors.mean(axis=(0, 1)), result.mean(axis=(0, 1))
    if np.abs(after - before).max() <= MEAN_MOVES:
        return ""
    shown = [", ".join(f"{255 * value:.0f}" for value in mean) for mean in (before, after)]
    return f"the mean colour moves from ({shown[0]}) to ({shown[1]})"


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
    summary = Summary()

    def read(job: Job) -> "_Read | None":
        if job.target.is_file() and not overwrite:
            return None
        return _read(job, truths, max_pixels, summary)

    def skip(job: Job) -> None:
        with _noted(job, summary):
            summary.skipped += 1
            if truths is not None:
                _score_skipped(job, truths, max_pixels, summary)
            if job.target.stat().st_mtime < max(weights_time, job.source.stat().st_mtime):
                summary.older.append(job.target)

    def write(job: Job, restored: Photograph, found: _Read) -> None:
        with _noted(job, summary):
            row = _write(job, restored, found, restorer.say, compare, quality)
            summary.restored += 1
            summary.scores += [row] if row else []

    with (
        ThreadPoolExecutor(1) as writer,
        tqdm(total=len(jobs), unit="image", dynamic_ncols=True, disable=None) as bar,
    ):
        writing: Future[None] | None = None
        for job, reading in _read_ahead(read, jobs):
            bar.set_postfix_str(job.source.name)
            with _noted(job, summary):
                found = reading.result()
                if found is None:
                    # there, so that scores keep the photographs' order
                    writing = writer.submit(skip, job)
                else:
                    restored = restorer.restored(found.degraded)
                    if writing is not None:
                        writing.result()  # one result at a time waits to be written
                    writing = writer.submit(write, job, restored, found)
            bar.update()
    return summary


@contextmanager
def _noted(job: Job, summary: Summary) -> Iterator[None]:
    """Note what goes wrong with a photograph; it must not stop the others."""
    try:
        yield
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        known = isinstance(error, UserError | OSError | RuntimeError | MemoryError)
        text = text if known else f"{type(error).__name__}: {text}"
        summary.failed[str(job.source)] = text.removeprefix(f"{job.source} ")
        tqdm.write(f"{job.source}: {summary.failed[str(job.source)]}")


@dataclass(frozen=True)
class _Read:
    """A photograph, and its clean image where there is one."""

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


def _read(
    job: Job, truths: Mapping[Path, Path] | None, max_pixels: float, summary: Summary
) -> _Read:
    if job.target.is_dir():
        raise DataError(f"cannot be written: {job.target} is a folder.")
    degraded = read_photograph(job.source, max_pixels)
    return _Read(degraded, _clean(job, degraded, truths, max_pixels, summary))


def _write(
    job: Job,
    restored: Photograph,
    read: _Read,
    say: Callable[[str], None],
    compare: bool,
    quality: int,
) -> Row | None:
    """Write a result and, with `compare`, the picture; the scores where there is a clean image."""
    if lost := lost_in(restored, job.target.suffix):
        say(f"{job.target}: this kind of file cannot hold {' and '.join(lost)} of it; left out.")
    for what in read.degraded.left_out:
        say(f"{job.source}: {what}; left out.")
    row = None
    if compare or read.clean is not None:
        pictures = {"input": as_picture(read.degraded), "restored": as_picture(restored)}
        notes = dict.fromkeys(pictures, "")
        if read.clean is not None:
            pictures["clean"] = as_picture(read.clean)
            row, notes = scored(job.name, pictures)
        if compare:
            labelled = {
                f"{label}{notes.get(label, '')}": picture for label, picture in pictures.items()
            }
            job.comparison.parent.mkdir(parents=True, exist_ok=True)
            save_bytes_atomically(encoded(comparison(labelled), ".jpg"), job.comparison)
    write_photograph(restored, job.target, quality)  # last: once it is there, all is
    return row


def _clean(
    job: Job,
    photograph: Photograph,
    truths: Mapping[Path, Path] | None,
    max_pixels: float,
    summary: Summary,
) -> Photograph | None:
    """The clean version of a photograph, where there is one."""
    if truths is None:
        return None
    if job.source not in truths:
        summary.unscored.append(job.source)
        return None
    clean = read_photograph(truths[job.source], max_pixels)
    if clean.pixels.shape[:2] != photograph.pixels.shape[:2]:
        raise DataError(
            f"is {size_of(photograph.pixels)} pixels and its clean image {size_of(clean.pixels)}."
        )
    return clean


def _score_skipped(
    job: Job, truths: Mapping[Path, Path], max_pixels: float, summary: Summary
) -> None:
    """Score the result that is there already."""
    photograph, there = (
        read_photograph(job.source, max_pixels),
        read_photograph(job.target, max_pixels),
    )
    if there.pixels.shape[:2] != photograph.pixels.shape[:2]:
        raise DataError(
            f"is {size_of(photograph.pixels)} pixels and {job.target}, not of it, "
            f"{size_of(there.pixels)}."
        )
    if clean := _clean(job, photograph, truths, max_pixels, summary):
        pictures = {"input": photograph, "restored": there, "clean": clean}
        summary.scores.append(
            scored(job.name, {label: as_picture(one) for label, one in pictures.items()})[0]
        )


def scored(name: str, pictures: dict[str, Picture]) -> tuple[Row, dict[str, str]]:
    """The scores of input and restored picture, by BasicSR, and their labels."""
    from basicsr.metrics import calculate_metric

    row: dict[str, str | float] = {"image": name}
    for metric, options in SCORES.items():
        for label, prefix in (("input", INPUT), ("restored", "")):
            row[f"{prefix}{metric}"] = float(
                calculate_metric({"img": pictures[label], "img2": pictures["clean"]}, dict(options))
            )
    notes = {
        label: f" {row[f'{prefix}psnr']:.2f} dB, SSIM {row[f'{prefix}ssim']:.4f}"
        for label, prefix in (("input", INPUT), ("restored", ""))
    }
    return row, notes


def as_picture(photograph: Photograph) -> Picture:
    """A photograph's colours as people see them: 8 bits, BGR."""
    return np.ascontiguousarray(to_8_bit(photograph.colors)[..., ::-1])
