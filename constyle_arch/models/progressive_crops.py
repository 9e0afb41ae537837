"""Progressive training: crops grow while batches shrink (Restormer, section 4)."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from constyle_arch.errors import OptionsError
from constyle_arch.options.data_sets import TrainingSet

KEYS = ("gt_sizes", "mini_batch_sizes", "iters")
"""The options of the training data set, in the words of Restormer's option files."""


@dataclass(frozen=True)
class ProgressiveCrops:
    """Takes a part of a loaded batch: some of its images, and a window of each.

    What is taken depends on the seed, the process and the iteration alone, so that a resumed run
    takes the same.

    Args:
        sizes: sides of the windows in each period.
        batch_sizes: images of each process in each period.
        periods: lengths of the periods in iterations; after the last one it stays.
        seed: the run's.
        rank: of the process.
    """

    sizes: Sequence[int]
    batch_sizes: Sequence[int]
    periods: Sequence[int]
    seed: int
    rank: int = 0

    @classmethod
    def from_options(cls, opt: Mapping[str, Any]) -> "ProgressiveCrops | None":
        """What the options of a run ask for; None where they do not.

        Raises:
            OptionsError: some of the three lists are missing, differ in length, or ask for more
                than is loaded; or the run trains with contrast or in parts, whose batches keep one
                size.
        """
        train_opt = opt["datasets"]["train"]
        loader = TrainingSet.read(train_opt)
        if loader.gt_sizes is loader.mini_batch_sizes is loader.iters is None:
            return None
        lists = loader.gt_sizes, loader.mini_batch_sizes, loader.iters
        sizes, batch_sizes, periods = (values or [] for values in lists)
        if not len(sizes) == len(batch_sizes) == len(periods) > 0:
            told = ", ".join(f"{key} {train_opt.get(key)}" for key in KEYS)
            raise OptionsError(
                f"datasets.train has {told}; they must be lists of whole numbers, at least 1, of "
                "one length: the crops, the images of each process, and the iterations of each "
                "period."
            )
        wanted_sizes = ("gt_size", "gt_sizes", sizes), ("batch_size_per_gpu", KEYS[1], batch_sizes)
        for key, wanted, least in wanted_sizes:
            if train_opt[key] < max(least):
                raise OptionsError(
                    f"datasets.train.{key} is {train_opt[key]} and {wanted} {least}; it must be at "
                    f"least {max(least)}, for that much is loaded."
                )
        if opt.get("model_type") == "ConStyleModel" or opt["train"].get("accumulate", 1) > 1:
            raise OptionsError(
                "datasets.train has gt_sizes and mini_batch_sizes, and ConStyleModel and "
                "train.accumulate need batches of one size; leave one of them out."
            )
        seed, rank = opt.get("manual_seed") or 0, opt.get("rank", 0)
        return cls(sizes, batch_sizes, periods, seed=seed, rank=rank)

    def take(self, images: Sequence[Tensor], iteration: int) -> list[Tensor]:
        """The same part of each of `images`, batches (B, C, H, W) that belong together.

        Args:
            images: what was loaded.
            iteration: of the run, from 1 on.
        """
        period = min(bisect_left(list(accumulate(self.periods)), iteration), len(self.periods) - 1)
        size, batch_size = self.sizes[period], self.batch_sizes[period]
        count, _, height, width = images[0].shape
        seed = (self.seed * 1_000_003 + iteration) * 1_009 + self.rank
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(count, generator=generator)[:batch_size].tolist()
        rooms = (height - size + 1, width - size + 1)
        top, left = (int(torch.randint(room, (), generator=generator)) for room in rooms)
        return [batch[chosen, :, top : top + size, left : left + size] for batch in images]
