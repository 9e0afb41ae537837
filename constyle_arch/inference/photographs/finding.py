"""Which photographs are meant, and where the restored ones go."""

import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from constyle_arch.data.image_stores import ImageFolder, files_below, matching, open_store
from constyle_arch.data.pairing import compare_names
from constyle_arch.errors import DataError, OptionsError, listed
from constyle_arch.inference.photographs.photograph import FORMATS, NEEDED_BY, readable

NOT_WRITTEN = {
    *(".avif", ".dng", ".exr", ".gif", ".heic", ".heif"),
    *(".jp2", ".jxl", ".pdf", ".ppm", ".psd", ".svg"),
}
"""A name that ends so is meant for a file, and not for a folder."""


@dataclass(frozen=True)
class Job:
    """A photograph to restore.

    Args:
        source: its file.
        target: the file to write.
        comparison: the picture of both to write; None where none is asked for.
        name: its path below what was named, without suffix.
    """

    source: Path
    target: Path
    comparison: Path | None
    name: str

    @property
    def written(self) -> tuple[Path, ...]:
        """The files to write."""
        return (self.target, self.comparison) if self.comparison else (self.target,)


def find_jobs(
    inputs: Sequence[str],
    output: str,
    *,
    suffix: str = "",
    extension: str | None = None,
    compare: bool = False,
) -> list[Job]:
    """The photographs that the inputs name, each with the file to write.

    Args:
        inputs: images, folders (searched with all that is below; hidden files are not read), or
            patterns such as `photos/**/*.jpg`. What lies below a folder, or below the part of a
            pattern before its first wildcard, keeps its place below the output. An output below a
            folder holds results, which are not restored again.
        output: a folder; or the file to write, where there is one image.
        suffix: what to append to names. With it the output may be the inputs' folder: a photograph
            that would be another one's result is taken for it.
        extension: of the files to write, e.g. `.png`; None keeps the input's, or takes `.png` where
            that kind is only read.
        compare: whether the pictures of comparison are to be written too.

    Raises:
        DataError: an input does not exist or is no image, nothing is found, two photographs would
            become one file, or an input would be overwritten.
        OptionsError: an option is empty, or does not go with the others.
    """
    if not output or not all(inputs):
        raise OptionsError(
            f"{'-i' if output else '-o'} is empty; name {'images' if output else 'where to write'}."
        )
    if "/" in suffix or os.sep in suffix:
        raise OptionsError(
            f"--suffix is {suffix!r}; it is appended to names and must not hold a slash."
        )
    below = Path(output).expanduser()
    every = (one for given in inputs for one in _images_of(given, below))
    # each once
    found = list({(_real(source), name): (source, name) for source, name in every}.values())
    if not found:
        others = other_files(inputs, output)
        raise DataError(
            f"-i {' '.join(inputs)}: no images are there{', but ' * bool(others)}{others}; wanted "
            f"are {_words(readable())}."
        )
    if not below.is_dir() and below.suffix.lower() in NOT_WRITTEN:
        raise OptionsError(
            f"-o {output}: such files are not written; end the name in one of {_words(FORMATS)}."
        )
    if not below.exists() and below.suffix.lower() in FORMATS and len(found) > 1:
        raise OptionsError(
            f"-o {output} is the name of one file, but there are {len(found)} images; name a "
            "folder."
        )
    if len(found) == 1 and below.suffix.lower() in FORMATS and not below.is_dir():
        if suffix or extension:
            raise OptionsError(
                f"-o {output} names the file to write; leave --suffix and --ext out."
            )
        [(source, name)] = found
        jobs = [_job(source, name, below, below.stem)]
    else:
        if below.is_file():
            raise DataError(f"-o {output} is a file; name a folder to write to.")
        targets = [
            below / f"{name}{suffix}{extension or _suffix_written(source)}"
            for source, name in found
        ]
        stems = Counter(target.with_suffix("") for target in targets)
        jobs = []
        for (source, name), target in zip(found, targets, strict=True):
            is_alone = stems[target.with_suffix("")] == 1
            stem = target.stem if is_alone else target.name.replace(".", "_")
            jobs.append(_job(source, name, target, stem))
        if suffix:
            results = {_real(path) for job in jobs for path in job.written}
            jobs = [job for job in jobs if _real(job.source) not in results]
    if not compare:
        jobs = [replace(job, comparison=None) for job in jobs]
    _check_not_overwritten(jobs, (job.source for job in jobs))
    first: dict[Path, Job] = {}
    for job in jobs:
        for path in job.written:
            other = first.setdefault(_real(path), job)
            if other is not job:
                raise DataError(
                    f"{other.source} and {job.source} would both become {path}; restore them into "
                    "folders of their own, or rename one."
                )
    return jobs


def _job(source: Path, name: str, target: Path, stem: str) -> Job:
    return Job(source, target, target.with_name(f"{stem}_comparison.jpg"), name)


def find_truths(
    jobs: Sequence[Job], root: str, lq_name: str = "{}", gt_name: str = "{}"
) -> dict[Path, Path]:
    """The clean image of each photograph's file, matched by name; those without one are left out.

    Args:
        jobs: of the photographs.
        root: a folder of clean images, of any format; or the clean image, where there is one
            photograph.
        lq_name: the form of the photographs' names, see `data.pairing.compare_names`.
        gt_name: the form of the clean images' names.

    Raises:
        DataError: `root` does not exist, holds two images that match one photograph, is one image
            for several photographs, or an image there would be overwritten.
    """
    path = Path(root).expanduser()
    if path.is_file():
        if len(jobs) > 1:
            raise DataError(
                f"--gt {root} is one image, but there are {len(jobs)} to restore; name a folder."
            )
        truths = {jobs[0].source: path}
    else:
        store = open_store(path, "--gt")
        if not isinstance(store, ImageFolder):
            raise DataError(f"--gt {root} is an LMDB; name a folder.")
        matching = compare_names([job.name for job in jobs], store.names, lq_name, gt_name)
        if matching.ambiguous:
            raise DataError(
                f"--gt {root}: {listed(matching.ambiguous)} match one photograph by --gt-name "
                f"{gt_name!r}; write more of the names into it."
            )
        partners = dict(matching.pairs)
        truths = {
            job.source: store.paths[partners[job.name]] for job in jobs if job.name in partners
        }
    _check_not_overwritten(jobs, truths.values())
    return truths


def other_files(inputs: Sequence[str], output: str) -> str:
    """How many files named are no images by their suffix, in words; "" for none.

    Args:
        inputs: see `find_jobs`.
        output: see `find_jobs`; what lies in it is not counted.

    Raises:
        DataError: an input does not exist.
    """
    below = Path(output).expanduser()
    folders = [_files_of(given) for given in inputs if not Path(given).expanduser().is_file()]
    others = {
        _real(path): path.suffix.lower() or "without a suffix"
        for files, base in folders
        for path in _without_results(files, base, below)
        if path.suffix.lower() not in readable()
    }
    return ", ".join(
        f"{count} {suffix}" + (f" (needs {NEEDED_BY[suffix]})" if suffix in NEEDED_BY else "")
        for suffix, count in Counter(others.values()).most_common()
    )


def _images_of(given: str, output: Path) -> Iterator[tuple[Path, str]]:
    """Each image that an input names, and its name below the output."""
    path = Path(given).expanduser()
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in NEEDED_BY and suffix not in readable():
            raise DataError(f"-i {given}: to read {suffix} needs {NEEDED_BY[suffix]}.")
        if suffix not in readable():
            raise DataError(
                f"-i {given} is no image by its name; wanted a file ending in {_words(readable())}."
            )
        yield path, path.stem
        return
    files, base = _files_of(given)
    for path in _without_results(files, base, output):
        if path.suffix.lower() in readable():
            yield path, path.relative_to(base).with_suffix("").as_posix()


def _files_of(given: str) -> tuple[list[Path], Path]:
    """The files that a folder or a pattern stands for, and where their names begin."""
    path = Path(given).expanduser()
    if path.is_dir():
        return list(files_below(path)), path
    if glob.has_magic(given):
        base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        found = matching(base, path.relative_to(base))
        inside = itertools.chain.from_iterable(files_below(one) for one in found if one.is_dir())
        return [*{*inside, *(one for one in found if one.is_file())}], base
    raise DataError(
        f"-i {given} does not exist; name an image, a folder, or a pattern in quotes such as "
        "'*.jpg'."
    )


def _without_results(files: Iterable[Path], base: Path, output: Path) -> Iterator[Path]:
    """Some files, sorted, but for those in an output below `base`, which are results."""
    results = _real(output)
    output_is_inside = results != _real(base) and results.is_relative_to(_real(base))
    for path in sorted(files):
        is_result = output_is_inside and _real(path).is_relative_to(results)
        is_special = path.exists() and not path.is_file()  # such as a pipe, which would not end
        if not is_result and not is_special:
            yield path


def _check_not_overwritten(jobs: Sequence[Job], files: Iterable[Path]) -> None:
    written = {_real(path) for job in jobs for path in job.written}
    if own := [str(file) for file in files if _real(file) in written]:
        raise DataError(
            f"{listed(own)} would be overwritten; name another folder with -o, or append something "
            "to names with --suffix."
        )


def _real(path: Path) -> Path:
    """The path without links; one that leads to itself is left as it is."""
    return Path(os.path.realpath(path))


def _suffix_written(source: Path) -> str:
    return source.suffix if source.suffix.lower() in FORMATS else ".png"


def _words(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))
