"""Learning rate schedules."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class CosineAnnealingRestartCyclicLR(LRScheduler):
    """Cosine annealing in periods, each with a weight and a floor of its own.

    Within period i the rate falls on half a cosine from floor + weight·(lr − floor) to the floor,
    with `restart_weights[i]` and `eta_mins[i]`; a floor equal to lr keeps it constant. After the
    last period it stays.
    Source: the recipes of arXiv 2402.15784, section 4.1, after Restormer's (arXiv 2111.09881).

    Args:
        optimizer: its groups' rates are set.
        periods: lengths of the periods, in iterations.
        restart_weights: factor of the rate at the start of each period.
        eta_mins: floor of the rate in each period.
        last_epoch: index of the last iteration; -1 to start.

    Raises:
        ValueError: the three lists differ in length, are empty, or a period is shorter than 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1,),
        eta_mins: Sequence[float] = (0,),
        last_epoch: int = -1,
    ) -> None:
        one_length = len(periods) == len(restart_weights) == len(eta_mins)
        if not one_length or not periods or min(periods) < 1:
            raise ValueError(
                f"periods {list(periods)}, restart_weights {list(restart_weights)} and eta_mins "
                f"{list(eta_mins)} must be of one length, at least 1, and each period at least 1 "
                "iteration."
            )
        self.periods = list(periods)
        self.restart_weights = list(restart_weights)
        self.eta_mins = list(eta_mins)
        self.ends = list(accumulate(periods))
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group at iteration `last_epoch`."""
        iteration = min(self.last_epoch, self.ends[-1])
        index = bisect_left(self.ends, iteration)
        position = (iteration - self.ends[index] + self.periods[index]) / self.periods[index]
        floor, weight = self.eta_mins[index], self.restart_weights[index]
        fall = 1 + math.cos(math.pi * position)
        return [floor + weight * 0.5 * (base_lr - floor) * fall for base_lr in self.base_lrs]
