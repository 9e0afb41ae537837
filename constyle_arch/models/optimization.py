"""Optimizers, schedules and EMA: what BasicSR's models know few of, or get wrong."""

from collections.abc import Iterable
from typing import Any

import torch
from basicsr.models import lr_scheduler as basicsr_schedulers
from basicsr.models.base_model import BaseModel
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from constyle_arch.errors import OptionsError
from constyle_arch.models.lr_scheduler import CosineAnnealingRestartCyclicLR

BASICSR_SCHEDULERS = {
    "MultiStepLR": basicsr_schedulers.MultiStepRestartLR,
    "MultiStepRestartLR": basicsr_schedulers.MultiStepRestartLR,
    "CosineAnnealingRestartLR": basicsr_schedulers.CosineAnnealingRestartLR,
    "CosineAnnealingRestartCyclicLR": CosineAnnealingRestartCyclicLR,
    "TrueCosineAnnealingLR": lr_scheduler.CosineAnnealingLR,  # as NAFNet's option files call it
}

FUSED = ("Adam", "AdamW")
"""Optimizers used in fused form. SGD's leaves momentum undefined after a skipped first step."""


def find_optimizer(name: str) -> type[Optimizer]:
    """The optimizer of torch called `name`.

    Raises:
        OptionsError: torch has none of that name.
    """
    found = getattr(torch.optim, name, None)
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise OptionsError(
            f"train.optim_g.type is {name!r}; it must be an optimizer of torch.optim, such as "
            "AdamW."
        )
    return found


def find_scheduler(name: str) -> type[lr_scheduler.LRScheduler]:
    """The schedule called `name`: one of BasicSR's, this project's, or torch's.

    Raises:
        OptionsError: there is none of that name.
    """
    found = BASICSR_SCHEDULERS.get(name) or getattr(lr_scheduler, name, None)
    if not (isinstance(found, type) and issubclass(found, lr_scheduler.LRScheduler)):
        raise OptionsError(
            f"train.scheduler.type is {name!r}; it must be one of {', '.join(BASICSR_SCHEDULERS)} "
            "or a schedule of torch.optim.lr_scheduler."
        )
    return found


class Optimization(BaseModel):  # type: ignore[misc]  # BasicSR publishes no types
    """A BasicSR model with all of PyTorch's optimizers and schedules, whose EMA has buffers."""

    def get_optimizer(
        self, optim_type: str, params: Iterable[nn.Parameter], lr: float, **options: Any
    ) -> Optimizer:
        """The optimizer of torch called `optim_type`; Adam and AdamW fused by default.

        BasicSR's knows Adam alone; the recipes train with AdamW.
        """
        if optim_type in FUSED and not options.get("foreach") and not options.get("differentiable"):
            options = {"fused": True, **options}
        # every optimizer's own
        return find_optimizer(optim_type)(params, lr=lr, **options)  # type: ignore[call-arg]

    def setup_schedulers(self) -> None:
        """Give every optimizer the schedule of `train.scheduler`, one of `find_scheduler`'s."""
        options = dict(self.opt["train"]["scheduler"])
        scheduler = find_scheduler(options.pop("type"))
        self.schedulers += [scheduler(optimizer, **options) for optimizer in self.optimizers]

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999, unless: Tensor | None = None) -> None:
        """Update the EMA network: θ' ← θ' + (1 − decay)·(θ − θ'), buffers too; counters are copied.

        BasicSR's averages parameters only: BatchNorm statistics stay at their start, and validation
        suffers.

        Args:
            decay: in [0, 1].
            unless: a number on the device; where it is 1 instead of 0, averages stay as they are.
        """
        net = self.get_bare_model(self.net_g)
        averages, values = [], []
        states = self.net_g_ema.state_dict().values(), net.state_dict().values()
        for average, value in zip(*states, strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        steps = torch._foreach_sub(values, averages)
        torch._foreach_mul_(steps, 1 - decay)
        if unless is not None:
            torch._foreach_mul_(steps, 1 - unless)
        torch._foreach_add_(averages, steps)
