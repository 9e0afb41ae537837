"""The C library's memory allocator on CPUs."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt."""
VARIABLE = "CONSTYLE_KEEP_MEMORY"


def keep_freed_memory() -> bool:
    """Have the process keep the memory that it frees, for its next tensors; whether that was possible.

    By default glibc gives large blocks back to the system at once. The system hands out empty pages for the next
    tensor, one page fault for each 4 KiB, which takes longer than most operations on it: see `benchmarks/RESULTS.md`.
    The process then holds its largest need until it ends. `CONSTYLE_KEEP_MEMORY=0` leaves the default.
    """
    if platform.libc_ver()[0] != "glibc" or os.environ.get(VARIABLE) == "0":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20))
    return all(mallopt(parameter, value) for parameter, value in settings)
