"""Processes that read data: how many may run, which signals they obey, when they end."""

import os
import signal
import threading
import time

SECONDS_BETWEEN_LOOKS = 1.0


def available_cores() -> int:
    """How many processors this process may use; on macOS and Windows, how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def listen_to_parent_alone(_worker: int) -> None:
    """Have a loader's worker end only when its parent says so or is gone (`worker_init_fn`).

    Ctrl-C and Slurm's SIGTERM reach workers as well as the process that trains. That one is to
    finish its step, for which it needs them. A parent that was killed leaves workers that wait for
    it for ever, on full pipes. Where a signal's sender cannot be told (macOS, Windows), SIGTERM
    ends a worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        if not hasattr(signal, "sigtimedwait"):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        request = signal.sigtimedwait({signal.SIGTERM}, SECONDS_BETWEEN_LOOKS)
        if request is not None and request.si_pid == parent:
            break
    os._exit(0)
