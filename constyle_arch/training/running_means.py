"""Means of what is measured at each step, since it was last logged."""

from collections.abc import Mapping

import torch
from torch import Tensor


class RunningMeans:
    """Sums up on the device, which is waited for only where the means are read."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        self._newest: tuple[str, ...] = ()
        self._logged = False

    def add(self, values: Mapping[str, Tensor], skipped: Tensor) -> None:
        """Take in the numbers of a step; `skipped` is 1 for one that does not count, else 0."""
        if self._logged:
            self._sums.clear()
            self._logged = False
        self._newest = tuple(values)
        for name, value in values.items():
            total, count = self._sums.get(name, (0, 0))
            counted = torch.where(skipped > 0, 0, value.detach())
            self._sums[name] = (total + counted, count + (1 - skipped))

    def read(self) -> dict[str, Tensor]:
        """The means of what the newest step measured, NaN where no step counts; then start over."""
        self._logged = True
        return {name: self._sums[name][0] / self._sums[name][1] for name in self._newest}
