"""Keeping some images of a folder apart, to validate a training on what it has not seen."""

from collections.abc import Sequence
from typing import TypeVar

from constyle_arch.errors import DataError

Key = TypeVar("Key")


def part_of(clean: Sequence[Key], every: int | None, phase: str) -> set[Key]:
    """The clean images that a data set reads, of all that its folders hold.

    With `hold_out: N` every N-th is left out of training, and is what all other phases read. So the
    same option in the sections `train` and `val` splits a folder by whole images, and all degraded
    versions of one stay together.

    Args:
        clean: the clean images in their order, each once.
        every: N, at least 2; None reads all in every phase.
        phase: of the data set.

    Raises:
        DataError: N leaves nothing for a phase.
    """
    if every is None:
        return set(clean)
    held_out = clean[every - 1 :: every]
    if not held_out:
        raise DataError(
            f"hold_out is {every}, but there are {len(clean)} clean images; lower it to "
            f"{len(clean)} or less."
        )
    return set(clean) - set(held_out) if phase == "train" else set(held_out)
