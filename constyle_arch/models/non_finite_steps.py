"""Steps whose loss or gradient is not finite: they change nothing, and are counted."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from constyle_arch.distributed import ranks
from constyle_arch.errors import RunError

ADVICE = "A lower train.optim_g.lr, a warm-up (train.warmup_iter) or train.grad_clip_norm may help."
"""What to do where a training diverges."""


class Snapshot:
    """Values of tensors that are about to change, to be put back if the change is wrong."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.kept = [(tensor, tensor.clone()) for tensor in tensors]

    @torch.no_grad()
    def restore_if(self, condition: Tensor) -> None:
        """Put the values back if `condition`, on the tensors' device, is not 0, without waiting."""
        for tensor, value in self.kept:
            tensor.copy_(torch.where(condition > 0, value, tensor))


@dataclass
class NonFiniteSteps:
    """Counts the steps that were not finite.

    A step decides on its device whether it counts. To read the decision is to wait for the device,
    so on a GPU it is read when the next step has been queued.

    Attributes:
        most: after this many in a row the run stops.
        device: of the run.
        total: how many there were since the start.
        in_a_row: how many there were without a finite one between.
    """

    most: int
    device: torch.device
    total: int = 0
    in_a_row: int = 0
    unread: deque[tuple[int, Tensor, Mapping[str, Tensor]]] = field(default_factory=deque)

    def note(self, iteration: int, flags: Tensor, losses: Mapping[str, Tensor]) -> None:
        """Note a step's `flags`, on its device; the first is 1 if the step was not finite."""
        self.unread.append((iteration, flags, losses))

    def read(self, *, all_of_them: bool = False) -> float:
        """Read the steps noted, those that are still being computed only if all are asked for.

        Returns:
            The largest second flag.

        Raises:
            RunError: `most` steps in a row were not finite.
        """
        late = 1 if self.device.type != "cpu" and not all_of_them else 0
        second = 0.0
        while len(self.unread) > late:
            iteration, flags, losses = self.unread.popleft()
            not_finite, other = flags.tolist()
            second = max(second, other)
            if not_finite:
                self._count(iteration, losses)
            else:
                self.in_a_row = 0
        return second

    def _count(self, iteration: int, losses: Mapping[str, Tensor]) -> None:
        self.in_a_row += 1
        self.total += 1
        values = ", ".join(f"{name} {float(loss):.4g}" for name, loss in losses.items())
        get_root_logger().warning(
            f"Iteration {iteration} was skipped: its loss or gradient is not finite ({values}"
            f"{' in the first process' if ranks()[0] > 1 else ''}); "
            f"{self.in_a_row} in a row, {self.total} since the start."
        )
        if self.in_a_row >= self.most:
            raise RunError(
                f"The loss or gradient was not finite in {self.most} steps in a row, the last one "
                f"iteration {iteration} (train.max_skipped_steps). The checkpoints saved before "
                f"are kept. {ADVICE}"
            )
