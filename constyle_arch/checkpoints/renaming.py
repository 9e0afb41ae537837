"""Renaming tensors: what the parts of a network are called here, and what somewhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of a network, and the parts of it.

    Attributes:
        theirs: how the names of its tensors begin there.
        ours: how they begin here.
        inside: what is called differently in it.
    """

    theirs: str
    ours: str
    inside: "Sequence[Part]" = ()


def each(
    theirs: str, ours: str, numbers: Mapping[int, int], inside: Sequence[Part] = ()
) -> list[Part]:
    """A part for each pair of numbers, theirs and ours, that are put in the place of `{}`."""
    return [Part(theirs.format(their), ours.format(our), inside) for their, our in numbers.items()]


def to_ours(name: str, parts: Sequence[Part]) -> str:
    """`name` as this project has it, by the first part that fits. Numbers of blocks stay."""
    return _renamed(name, parts, "theirs", "ours")


def to_theirs(name: str, parts: Sequence[Part]) -> str:
    """The inverse of `to_ours`."""
    return _renamed(name, parts, "ours", "theirs")


def _renamed(name: str, parts: Sequence[Part], found: str, wanted: str) -> str:
    for part in parts:
        beginning: str = getattr(part, found)
        if name.startswith(beginning):
            return getattr(part, wanted) + _renamed(
                name.removeprefix(beginning), part.inside, found, wanted
            )
    number, _, rest = name.partition(".")
    return (
        f"{number}.{_renamed(rest, parts, found, wanted)}" if number.isdigit() and parts else name
    )
