"""A training's line in the terminal: progress, losses, speed, time left, best score."""

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

LOSSES_SHOWN_EVERY = 1.0
"""Seconds; reading losses makes a GPU wait."""


class ProgressLine:
    """Shown on the first process, where standard error is a terminal, for a run's `total` steps.

    What BasicSR logs every `logger.print_freq` iterations goes to the log file alone then; other
    messages appear above the line.
    """

    def __init__(self, name: str, total: int, rank: int) -> None:
        self.name, self.total = name, total
        self.shown = rank == 0 and sys.stderr.isatty()
        self.bar: tqdm[Any] | None = None
        self.losses_shown_at = 0.0
        self.redirection = ExitStack()

    def advance(self, iteration: int, losses: Mapping[str, Tensor], best: str) -> None:
        """Say that `iteration` is done.

        Args:
            iteration: from 1 on; the first one reported may be another, where a run is resumed.
            losses: as they are on the device.
            best: the best score so far, in words; empty where there is none.
        """
        if not self.shown:
            return
        if self.bar is None:
            self.bar = self._opened(iteration - 1)
        now = time.monotonic()
        if now - self.losses_shown_at >= LOSSES_SHOWN_EVERY or iteration == self.total:
            self.losses_shown_at = now
            numbers = [f"{name} {float(loss):.4g}" for name, loss in losses.items()]
            shown = ", ".join([*numbers, best] if best else numbers)
            self.bar.set_postfix_str(shown, refresh=False)
        self.bar.update(iteration - self.bar.n)

    def close(self) -> None:
        """Leave the line as it is; what is printed from now on comes below it."""
        if self.bar is not None:
            self.bar.close()
        self.redirection.close()
        self.shown = False

    def _opened(self, iteration: int) -> "tqdm[Any]":
        logger = logging.getLogger("basicsr")
        self.redirection.enter_context(logging_redirect_tqdm([logger]))
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):  # the line replaces MessageLogger's
                handler.addFilter(lambda one: (one.module, one.funcName) != ("logger", "__call__"))
        return tqdm(total=self.total, initial=iteration, desc=self.name, dynamic_ncols=True)
