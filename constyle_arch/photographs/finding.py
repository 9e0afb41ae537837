"""Which photographs are meant, and where the restored ones go."""

import glob
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from constyle_arch.data.image_stores import ImageFolder, files_below, is_hidden, open_store
from constyle_arch.data.pairing import compare_names
from constyle_arch.errors import DataError, listed
from constyle_arch.photographs.photograph import FORMATS


@dataclass(frozen=True)
class Job:
    """A photograph to restore.

    Args:
        source: its file.
        target: the file to write.
        name: its path below what was named, without suffix.
    """

    source: Path
    target: Path
    name: str


def find_jobs(inputs: Sequence[str], output: str, suffix: str = "", extension: str | None = None) -> list[Job]:
    """The photographs that the inputs name, each with the file to write.

    Args:
        inputs: images, folders (searched with all that is below; hidden files are not read), or patterns such as
            `photos/**/*.jpg`. What lies below a folder, or below the part of a pattern before its first wildcard,
            keeps its place below the output.
        output: a folder; or the file to write, where there is one image.
        suffix: what to append to names.
        extension: of the files to write, e.g. `.png`; None keeps the input's.

    Raises:
        DataError: an input does not exist or is no image, nothing is found, two photographs would become one file, or
            an input would be overwritten.
    """
    below = Path(output)
    found = list(dict.fromkeys(one for given in inputs for one in _images_of(given, below)))
    named = len(inputs) == 1 and Path(inputs[0]).is_file()
    if named and below.suffix.lower() in FORMATS and not below.is_dir():
        jobs = [Job(found[0][0], below, found[0][1])]
    else:
        if below.is_file():
            raise DataError(f"-o {output} is a file; name a folder to write to.")
        jobs = [Job(source, below / f"{name}{suffix}{extension or source.suffix}", name) for source, name in found]
    if not jobs:
        raise DataError(f"-i {' '.join(inputs)}: no images are there; wanted files ending in {_suffixes()}.")
    _check(jobs)
    return jobs


def find_truths(jobs: Sequence[Job], root: str, lq_name: str = "{}", gt_name: str = "{}") -> dict[Path, Path]:
    """The clean image of each photograph's file, matched by name; those without one are left out.

    Args:
        jobs: of the photographs.
        root: a folder of clean images, of any format; or the clean image, where there is one photograph.
        lq_name: the form of the photographs' names, see `data.pairing.compare_names`.
        gt_name: the form of the clean images' names.

    Raises:
        DataError: `root` does not exist, holds two images of one name, or is one image for several photographs.
    """
    path = Path(root).expanduser()
    if path.is_file():
        if len(jobs) > 1:
            raise DataError(f"--gt {root} is one image, but there are {len(jobs)} to restore; name a folder.")
        return {jobs[0].source: path}
    store = open_store(path, "--gt")
    if not isinstance(store, ImageFolder):
        raise DataError(f"--gt {root} is an LMDB; name a folder.")
    partners = dict(compare_names([job.name for job in jobs], store.names, lq_name, gt_name).pairs)
    return {job.source: store.paths[partners[job.name]] for job in jobs if job.name in partners}


def _images_of(given: str, output: Path) -> Iterator[tuple[Path, str]]:
    """Each image that an input names, and its name below the output."""
    path = Path(given).expanduser()
    if path.is_file():
        if path.suffix.lower() not in FORMATS:
            raise DataError(f"-i {given} is no image by its name; wanted a file ending in {_suffixes()}.")
        yield path, path.stem
    elif path.is_dir():
        yield from _named(files_below(path), path, output)
    elif glob.has_magic(given):
        base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        found = [one for one in base.glob(str(path.relative_to(base))) if not is_hidden(one.relative_to(base))]
        inside = itertools.chain.from_iterable(files_below(one) for one in found if one.is_dir())
        yield from _named({*inside, *(one for one in found if one.is_file())}, base, output)
    else:
        raise DataError(f"-i {given} does not exist; name an image, a folder, or a pattern in quotes such as '*.jpg'.")


def _named(files: Iterable[Path], base: Path, output: Path) -> Iterator[tuple[Path, str]]:
    """The images among some files, named from `base` on; an output below `base` holds results, not inputs."""
    results = output.resolve()
    output_is_inside = results != base.resolve() and results.is_relative_to(base.resolve())
    for path in sorted(files):
        is_result = output_is_inside and path.resolve().is_relative_to(results)
        if path.suffix.lower() in FORMATS and not is_result:
            yield path, path.relative_to(base).with_suffix("").as_posix()


def _check(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    if own := [str(job.source) for job in jobs if job.target.resolve() in sources]:
        raise DataError(
            f"{listed(own)} would be overwritten; name another folder with -o, or append something to names with "
            "--suffix."
        )
    first: dict[Path, Job] = {}
    for job in jobs:
        other = first.setdefault(job.target, job)
        if other is not job:
            raise DataError(
                f"{other.source} and {job.source} would both become {job.target}; restore them into folders of "
                "their own, or leave --ext out."
            )


def _suffixes() -> str:
    return ", ".join(sorted(FORMATS))
