"""Restoring a photograph in the memory there is."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from constyle_arch.allocator import give_freed_memory_back
from constyle_arch.archs.layers import channels_of
from constyle_arch.archs.local_statistics import depends_on_tiles
from constyle_arch.errors import CheckpointError, DataError, RunError, listed
from constyle_arch.images import FloatImage, size_of
from constyle_arch.inference.memory import fitting_tile, is_out_of_memory, smaller_tile
from constyle_arch.inference.photographs.photograph import Photograph
from constyle_arch.inference.restoring import OVERLAP, restore, tensors_not_finite
from constyle_arch.tiles import COST, LARGE_ENOUGH, largest_overlap, multiple_of

MEAN_MOVES = 0.25
"""How far a channel's mean, in [0, 1], may move unreported; thick haze moves it so far."""


@dataclass
class Restorer:
    """Restores photographs with a network, in tiles where memory would not do.

    Args:
        network: on the device to compute on.
        tile: side of the tiles; None for whole images, or the largest tiles that fit into memory.
        overlap: of neighbouring tiles, in pixels; less where small tiles leave no room for it.
        precision: see `inference.restore`.
        self_ensemble: see `inference.restore`.
        strength: how much of the restoration is taken: 1 all of it, 0.5 the mean of it and the
            input, 0 nothing.
        say: takes what is worth knowing, a line at a time.
        progress: see `inference.restore`.
    """

    network: nn.Module
    tile: int | None = None
    overlap: int = OVERLAP
    precision: torch.dtype = torch.float32
    self_ensemble: bool = False
    strength: float = 1.0
    say: Callable[[str], None] = print
    progress: bool | Callable[[int, int], object] = True
    _fitting: dict[tuple[int, ...], int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse networks of images that no photograph is.

        Raises:
            CheckpointError: they have neither 1 channel nor 3.
        """
        channels = channels_of(self.network)
        if channels not in (1, 3):
            raise CheckpointError(
                f"The network restores images of {channels} channels, and photographs have 1 or 3; "
                f"in Python, constyle_arch.restore takes tensors of {channels}."
            )

    def restored(self, photograph: Photograph) -> Photograph:
        """The restored photograph, with the alpha, profile and EXIF data of the degraded one.

        Where half precision gives numbers that are not finite, or a mean colour far from the
        input's, it is restored again in float32.

        Raises:
            DataError: it has colours, and the network restores gray images.
            RunError: memory does not do for the smallest tiles, or the result holds numbers that
                are not finite.
        """
        if channels_of(self.network) == 1 and not photograph.is_gray:
            raise DataError(
                "it has colours, and the network restores gray images; convert it, or take other "
                "weights."
            )
        colors = photograph.colors
        result = self._computed(colors, self.precision)
        wrong = _what_looks_wrong(colors, result)
        if wrong and self.precision != torch.float32:
            precision = str(self.precision).removeprefix("torch.")
            self.say(f"In {precision} {wrong}; restored again in float32.")
            result = self._computed(colors, torch.float32)
            wrong = _what_looks_wrong(colors, result)
        if not np.isfinite(result).all():
            reason = "the weights are finite, but the network overflows: take other weights"
            if names := tensors_not_finite(self.network):
                reason = f"so do the weights, in {listed(names, 3)}: take an earlier checkpoint"
            raise RunError(f"the restored image holds numbers that are not finite; {reason}.")
        if wrong:
            self.say(f"In the restored photograph {wrong}; look whether it should.")
        if self.strength != 1:
            result = colors + np.float32(self.strength) * (result - colors)
        return photograph.with_colors(result)

    def _computed(self, colors: FloatImage, precision: torch.dtype) -> FloatImage:
        """What the network makes of an image, in smaller tiles where memory runs out."""
        tile = self._tile(colors)
        image = colors[..., 0] if channels_of(self.network) == 1 else colors
        while True:
            most = largest_overlap(tile, multiple_of(self.network)) if tile else self.overlap
            try:
                result = restore(
                    self.network,
                    image,
                    tile=tile,
                    overlap=min(self.overlap, most),
                    precision=precision,
                    self_ensemble=self.self_ensemble,
                    progress=self.progress,
                )
                return np.stack([result] * 3, axis=2) if result.ndim == 2 else result
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            tile = self._after_memory_ran_out(tile, colors)

    def _tile(self, colors: FloatImage) -> int | None:
        """The side of the tiles for an image; it is worked out once for each size."""
        if self.tile is not None:
            return self.tile
        height, width, _ = size = colors.shape
        if size not in self._fitting:
            self._fitting[size] = fitting_tile(self.network, height, width)
            if tile := self._fitting[size]:
                tiles = f"tiles of {tile}: memory would not do{self._cost(tile)}"
                self.say(f"Images of {size_of(colors)} pixels are restored in {tiles}.")
        return self._fitting[size]

    def _after_memory_ran_out(self, tile: int | None, colors: FloatImage) -> int:
        smaller = smaller_tile(self.network, tile, colors.shape[0], colors.shape[1])
        if smaller is None:
            raise RunError(f"memory ran out{f', in tiles of {tile} pixels too' if tile else ''}.")
        if next(self.network.parameters()).device.type == "cpu":
            give_freed_memory_back()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.say(f"Memory ran out; continuing in tiles of {smaller}{self._cost(smaller)}.")
        if self.tile is None:
            self._fitting[colors.shape] = smaller
        else:
            self.tile = smaller
        return smaller

    def _cost(self, tile: int) -> str:
        return f" ({COST})" if tile < LARGE_ENOUGH and depends_on_tiles(self.network, tile) else ""


def _what_looks_wrong(colors: FloatImage, result: FloatImage) -> str:
    """What of a result no restoration should bring about, in words; empty where nothing is."""
    if not np.isfinite(result).all():
        return "the result holds numbers that are not finite"
    before, after = colors.mean(axis=(0, 1)), result.mean(axis=(0, 1))
    if np.abs(after - before).max() <= MEAN_MOVES:
        return ""
    shown = [", ".join(f"{255 * value:.0f}" for value in mean) for mean in (before, after)]
    return f"the mean colour moves from ({shown[0]}) to ({shown[1]})"
