"""The errors this package shows to its users."""

from collections.abc import Sequence

NAMES_SHOWN = 10


class UserError(Exception):
    """Something the user can put right: the command line prints the message alone and exits with 2.

    The message names the file or option, the value found, the value wanted and what to do.
    """


class OptionsError(UserError):
    """An option file cannot be run; the message lists every problem found."""


class DataError(UserError):
    """A data set on disk is missing, incomplete or unreadable."""


class RunError(UserError):
    """A run could not do what its options promise."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or does not fit the network it is to be loaded into."""


class UnknownNetworkError(CheckpointError):
    """The weights are of no network of this package."""


def listed(names: Sequence[str], most: int | None = NAMES_SHOWN) -> str:
    """The first `most` names in words, and how many more there are; all of them for None."""
    shown = ", ".join(names[:most])
    return shown if most is None or len(names) <= most else f"{shown} and {len(names) - most} more"
