"""Names of files that figures are written to, checked before matplotlib is imported."""

from pathlib import Path

from constyle_arch.errors import UserError

FORMATS = (".png", ".svg")

MARK = "constyle-arch"
"""Stands in the metadata of each figure, which says that a file may be drawn again."""
MARKED_BYTES = 8192


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
