"""Overlapping tiles of an axis, and their weights at each pixel."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LARGE_ENOUGH = 384
"""Pixels; from tiles of this side on, results were measured to be those of whole images, nearly."""

COST = (
    f"tiles below {LARGE_ENOUGH} pixels can cost quality, as networks take means over a tile "
    "instead of the image: a trained dehazing network lost 0.3 dB in tiles of 256 pixels, 2.2 in "
    "tiles of 128 and 2.5 in tiles of 64"
)
"""The warning about smaller tiles; docs/performance.md has the measurements."""


@dataclass(frozen=True)
class Tile:
    """A piece of an axis: the pixels from `start` to `stop`, and their weights (stop − start,)."""

    start: int
    stop: int
    weights: Tensor

    @property
    def pixels(self) -> slice:
        """For indexing."""
        return slice(self.start, self.stop)


def tiles_of(length: int, tile: int, overlap: int, multiple: int) -> list[Tile]:
    """Tiles of equal length that cover an axis evenly; at each pixel their weights sum to 1.

    Args:
        length: of the axis, in pixels, a multiple of `multiple`.
        tile: the length of a tile, rounded up to a multiple of `multiple`; a shorter axis is one
            tile.
        overlap: of neighbouring tiles, at least. There a tile's weight rises and falls linearly.
        multiple: tiles start at multiples of it, so that a network of convolutions sees the same
            grid in all.

    Raises:
        ValueError: the overlap is negative, or leaves no room in a tile.
    """
    size = -(-tile // multiple) * multiple
    if size >= length:
        return [Tile(0, length, torch.ones(length))]
    most = largest_overlap(tile, multiple)
    if not 0 <= overlap <= most:
        raise ValueError(
            f"overlap is {overlap} for tiles of {size} pixels; it must lie in [0, {most}]."
        )
    step = (size - overlap) // multiple * multiple
    count = -(-(length - size) // step) + 1
    starts = [
        round(number * (length - size) / (count - 1) / multiple) * multiple
        for number in range(count)
    ]
    ramp = torch.arange(1, size + 1).clamp(max=overlap + 1)
    shares = torch.minimum(ramp, ramp.flip(0)).float()
    total = torch.zeros(length)
    for start in starts:
        total[start : start + size] += shares
    return [Tile(start, start + size, shares / total[start : start + size]) for start in starts]


def largest_overlap(tile: int, multiple: int) -> int:
    """How many pixels tiles, rounded up to a multiple of `multiple`, can overlap by at most."""
    return -(-tile // multiple) * multiple - multiple


def multiple_of(network: nn.Module) -> int:
    """What a network pads both sides of an image to a multiple of."""
    return int(getattr(network, "multiple", 1))


def cells_of(length: int, cell: int, margin: int) -> Iterator[tuple[slice, slice]]:
    """Cells that cover an axis without overlap: the pixels to read, and which of them are its own.

    Args:
        length: of the axis.
        cell: the length of a cell.
        margin: pixels to read on both sides of a cell, as far as the axis goes.
    """
    for start in range(0, length, cell):
        stop, first = min(start + cell, length), max(start - margin, 0)
        yield slice(first, min(stop + margin, length)), slice(start - first, stop - first)
