"""Where images lie: a folder or an LMDB, read by name."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import lmdb

from constyle_arch.errors import DataError, listed
from constyle_arch.images import SUFFIXES


class ImageFolder:
    """The images below a folder; their names are their paths in it without suffix, sorted.

    Links to folders are followed, but for one that leads back to a folder above it; hidden files
    and folders are not read.

    Args:
        root: the folder. Parts of the path from the first `*` on are a pattern for folders, and
            names begin there: `train/*/blur` holds `GOPR0372_07_00/blur/000047`.

    Attributes:
        paths: the file of each name.
        problems: what is wrong with other files that should be images: two of one name, links to
            nothing.
        other_files: files that are no images by their suffix.

    Raises:
        DataError: a folder is missing or cannot be read, or the pattern is none.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.base = folder_of(root)
        if not self.base.is_dir():
            raise DataError(f"{no_folder(self.base)}.")
        folders = [self.base]
        if self.base != self.root:
            found = matching(self.base, self.root.relative_to(self.base))
            folders = [folder for folder in found if folder.is_dir()]
        self.paths: dict[str, Path] = {}
        self.problems: list[str] = []
        self.other_files: list[Path] = []
        for path in sorted(path for folder in folders for path in files_below(folder)):
            name = path.relative_to(self.base).with_suffix("").as_posix()
            if path.suffix.lower() not in SUFFIXES:
                self.other_files.append(path)
            elif not path.is_file():
                is_link = path.is_symlink()
                what = "a link to a file that does not exist" if is_link else "no file"  # a pipe
                self.problems.append(f"{path} is {what}")
            elif name in self.paths:
                self.problems.append(f"{self.paths[name]} and {path} have one name")
            else:
                self.paths[name] = path

    @property
    def names(self) -> list[str]:
        """The names of the images, sorted."""
        return list(self.paths)

    def location(self, name: str) -> str:
        """Where an image lies, for people."""
        return str(self.paths[name])

    def read(self, name: str) -> bytes:
        """The content of an image's file.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return self.paths[name].read_bytes()
        except OSError as error:
            raise DataError(f"{self.paths[name]} cannot be read: {error.strerror}.") from error


class ImageLmdb:
    """The images of an LMDB that `basicsr prepare` or BasicSR wrote; dotted names stay whole.

    Raises:
        DataError: the folder is missing, holds no `meta_info.txt`, or is no LMDB.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        meta_info = self.root / "meta_info.txt"
        if not self.root.is_dir():
            raise DataError(f"{no_folder(root)}.")
        if not meta_info.is_file():
            raise DataError(f"{root} is not an LMDB of BasicSR's: it holds no meta_info.txt.")
        lines = meta_info.read_bytes().decode().split("\n")
        self.names = [line.rsplit(" (", 1)[0].rsplit(".", 1)[0] for line in lines if line.strip()]
        paths = map(Path, self.names)
        outside = [str(path) for path in paths if path.is_absolute() or ".." in path.parts]
        if outside:  # results are written under these names
            raise DataError(
                f"{meta_info} lists keys that lead out of a folder: {listed(outside)}; they are "
                "not read."
            )

    def location(self, name: str) -> str:
        """Where an image lies, for people."""
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        """The content under the key `name`.

        Raises:
            DataError: the LMDB cannot be opened or has no such key.
        """
        try:
            with shared_environment(self.root).begin() as transaction:
                content: Any = transaction.get(name.encode())
        except lmdb.Error as error:
            raise DataError(f"{self.location(name)} cannot be read: {error}") from error
        if content is None:
            raise DataError(
                f"{self.root} holds no image under the key {name}, which its meta_info.txt lists."
            )
        return bytes(content)


ImageStore: TypeAlias = ImageFolder | ImageLmdb


def folder_of(root: str | Path) -> Path:
    """Where the names of the images at `root` begin: its parts before the first `*`."""
    parts = Path(root).expanduser().parts
    return Path(*itertools.takewhile(lambda part: "*" not in part, parts))


def no_folder(root: str | Path) -> str:
    """What is there instead of a folder, in words."""
    is_file = Path(root).expanduser().exists()
    return f"{root} is a file, not a folder" if is_file else f"the folder {root} does not exist"


def as_list(root: Any) -> list[Any]:
    """The places that an option names: one, or a list of them."""
    return root if isinstance(root, list) and root else [root]


def images_at(roots: str | list[str], option: str) -> list[tuple[ImageStore, str]]:
    """The images of one place or of several, in turn, by store and name; see `open_store`."""
    stores = [open_store(root, option) for root in as_list(roots)]
    return [(store, name) for store in stores for name in sorted(store.names)]


def open_store(root: str | Path, option: str) -> ImageStore:
    """The images at `root`: an LMDB where its name ends in `.lmdb`, else a folder.

    Raises:
        DataError: the store cannot be opened or is empty; the message names `option`.
    """
    if not root:
        raise DataError(f"{option} is missing; it names the folder or LMDB of the images.")
    path = Path(root)
    try:
        store = ImageLmdb(path) if path.suffix == ".lmdb" else ImageFolder(path)
    except OSError as error:
        raise DataError(f"{option}: {root} cannot be read: {error.strerror}.") from error
    except DataError as error:
        raise DataError(f"{option}: {error}") from error
    if isinstance(store, ImageFolder) and store.problems:
        raise DataError(
            f"{option}: {listed(store.problems)}; rename what should not be read, or move it "
            "elsewhere."
        )
    if not store.names:
        raise DataError(f"{option}: {root} holds no images.")
    return store


def is_hidden(path: Path) -> bool:
    """Whether a path leads through a hidden folder, or to a hidden file."""
    return any(part.startswith(".") for part in path.parts)


def matching(base: Path, pattern: Path) -> list[Path]:
    """The files and folders below `base` that a pattern means, but hidden ones, sorted.

    Raises:
        DataError: `**` is part of a name, which `Path.glob` takes for `*` since Python 3.13 and
            refused before.
    """
    for part in pattern.parts:
        if "**" in part and part != "**":
            raise DataError(
                f"{base / pattern} is no pattern: {part} has ** beside other characters; write it "
                "between slashes, as in **/*.jpg."
            )
    found = sorted(base.glob(str(pattern)))
    return [path for path in found if not is_hidden(path.relative_to(base))]


def files_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files in a folder and in those below it, but hidden ones.

    Links do not lead back to the folders whose real paths are `above`.

    Raises:
        DataError: a folder cannot be read.
    """
    above = (*above, os.path.realpath(folder))
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if path.is_dir():  # which a link that leads to itself is not
            if not (entry.is_symlink() and os.path.realpath(path) in above):
                yield from files_below(path, above)
        else:
            yield path


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
