"""The C library's memory allocator on CPUs."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt."""
VARIABLE = "CONSTYLE_KEEP_MEMORY"

M_MMAP_MAX_BY_DEFAULT, TRIM_THRESHOLD_BY_DEFAULT = 65536, 128 * 2**10


def give_freed_memory_back() -> None:
    """Undo `keep_freed_memory`, and give back what is free: memory has run out."""
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, M_MMAP_MAX_BY_DEFAULT)
        library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BY_DEFAULT)
        library.malloc_trim(0)


def keep_freed_memory() -> bool:
    """Have the process keep memory that it frees for its next tensors; whether that is possible.

    By default glibc gives large blocks back to the system at once. The system hands out empty pages
    for the next tensor, one page fault for each 4 KiB, which takes longer than most operations on
    it: see `benchmarks/RESULTS.md`. The process then holds its largest need until it ends.
    `CONSTYLE_KEEP_MEMORY=0` leaves the default.
    """
    if platform.libc_ver()[0] != "glibc" or os.environ.get(VARIABLE) == "0":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20))
    return all(mallopt(parameter, value) for parameter, value in settings)
