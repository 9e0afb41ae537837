"""What is checked and named of figures before matplotlib is imported."""

from collections.abc import Sequence
from pathlib import Path

from constyle_arch.errors import UserError

FORMATS = (".png", ".svg")

MARK = "constyle-arch"
"""Stands in the metadata of each figure, which says that a file may be drawn again."""
MARKED_BYTES = 8192


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises:
        UserError: matplotlib is not installed, or cannot be imported.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'Pictures are drawn with matplotlib ({error}): pip install "constyle-arch[plot]".'
        ) from error


def check_format(path: Path) -> None:
    """Check that a picture can be written under this name.

    Raises:
        UserError: it cannot, by its suffix, the folder is not there, or a file that is no figure of
            this package is.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"-o is {path}; a picture's name must end in {' or '.join(FORMATS)}.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"-o is {path}; the folder {path.parent} does not exist, create it first.")
    if path.exists() and not _is_figure(path):
        raise UserError(
            f"-o is {path}, which is there and was not drawn by this command; choose another name."
        )


def _is_figure(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK.encode() in file.read(MARKED_BYTES)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends that tell paths apart: `lq` alone, `dehaze/lq` beside `derain/lq`."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts), default=0)):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
