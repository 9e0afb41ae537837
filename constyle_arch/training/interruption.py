"""Leaving a training run on Ctrl-C, and on SIGTERM, which Slurm sends before it ends a job."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from constyle_arch.errors import UserError


class StoppedRunError(UserError):
    """A run was asked to stop by a signal, and has saved where it is."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


HEARD = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def handlers_put_back() -> Iterator[None]:
    """Put the process's handlers of SIGTERM and SIGINT back at the end, whoever replaced them."""
    before = {number: signal.getsignal(number) for number in HEARD}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # None: not Python's, which cannot be put back
                    signal.signal(number, handler)


class StopRequest:
    """Notes a request to stop, for the training loop to look at after each step."""

    def __init__(self) -> None:
        self.signal_number = 0

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on; a second SIGINT interrupts at once."""
        if threading.current_thread() is threading.main_thread():
            for number in HEARD:
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number
        print(f"{signal.Signals(number).name}: saving after this step.", flush=True)
