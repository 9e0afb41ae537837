"""Keeping some images of a folder apart, to validate a training on what it has not seen."""

from collections.abc import Sequence
from typing import Any, TypeVar

from constyle_arch.errors import DataError

Key = TypeVar("Key")


def part_of(clean: Sequence[Key], opt: dict[str, Any]) -> set[Key]:
    """The clean images that a data set reads, of all that its folders hold.

    With `hold_out: N` every N-th is left out of training, and is what all other phases read. So the
    same option in the sections `train` and `val` splits a folder by whole images, and all degraded
    versions of one stay together.

    Args:
        clean: the clean images in their order, each once.
        opt: of the data set: its `phase`, and perhaps `hold_out`.

    Raises:
        DataError: `hold_out` is no whole number of at least 2, or leaves nothing for a phase.
    """
    every = opt.get("hold_out")
    if every is None:
        return set(clean)
    if not isinstance(every, int) or isinstance(every, bool) or every < 2:
        raise DataError(f"hold_out is {every!r}; it must be a whole number, at least 2.")
    held_out = clean[every - 1 :: every]
    if not held_out:
        raise DataError(
            f"hold_out is {every}, but there are {len(clean)} clean images; lower it to "
            f"{len(clean)} or less."
        )
    return set(clean) - set(held_out) if opt["phase"] == "train" else set(held_out)
