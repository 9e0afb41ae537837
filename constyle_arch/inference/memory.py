"""How much memory restoring an image takes, how much there is, and which tiles fit."""

import re
from pathlib import Path

import torch
from torch import nn

from constyle_arch.archs.fused import use_fused
from constyle_arch.archs.layers import channels_of
from constyle_arch.reporting.complexity import PeakMemory, without_values
from constyle_arch.tiles import multiple_of

TILES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128, 64)
"""Sides of tiles to choose from, in pixels."""

RESERVE, RESERVE_OF_CPU = 1.25, 2.25
"""Bytes reserved for each that tensors take. Kernels have working memory, and freed memory lies in
pieces: a process that keeps what it frees (`allocator.py`) was measured to take 1.6 to 2.2 times
its tensors, another 1.1 times."""

OUT_OF_MEMORY_ON_CPU = "not enough memory|can't allocate memory|could not create a primitive"
"""What torch's allocator (Windows, Linux) and oneDNN say, which have no error of their own."""

AMPLE = 2**15
"""Bytes for each pixel, besides those of the weights, that are more than any network here takes
(ConStyleRestormer and KBNet 14 kB, as measured by `memory_of`)."""

IMAGES_HELD = 6
"""Images in float32 held besides what the network computes: input, result, their arrays."""


def memory_of(network: nn.Module, height: int, width: int) -> float | None:
    """Bytes, in float32, of the tensors that restoring `height`×`width` pixels takes.

    Shapes alone pass through a copy of the network. None for a network that cannot run so.
    """
    copy = without_values(network).eval()
    if next(network.parameters()).is_cuda:
        use_fused(copy, False)
    try:
        with (
            torch.compiler.set_stance("force_eager"),
            torch.inference_mode(),
            PeakMemory() as memory,
        ):
            copy(torch.empty(1, channels_of(network), height, width, device="meta"))
    except (NotImplementedError, RuntimeError):
        return None
    return memory.peak


def free_memory(device: torch.device) -> float:
    """Bytes that can be had on a device; infinite where the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_free_in_system(), _free_in_control_group())


def _free_in_system() -> float:
    try:
        found = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:  # not Linux
        return float("inf")
    return 1024 * int(found[1]) if found else float("inf")


def _free_in_control_group(root: Path = Path("/sys/fs/cgroup")) -> float:
    """What a container's limit leaves (control groups v2); cached files can make room."""
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        cached = re.search(r"(?m)^inactive_file (\d+)", (root / "memory.stat").read_text())
    except OSError:
        return float("inf")
    return float("inf") if limit == "max" else int(limit) - used + int(cached[1] if cached else 0)


def fitting_tile(network: nn.Module, height: int, width: int) -> int | None:
    """The side of the largest tiles in which `height`×`width` pixels fit into memory.

    Returns:
        None where the whole image fits; the smallest tile where nothing does.
    """
    device = next(network.parameters()).device
    reserve = RESERVE_OF_CPU if device.type == "cpu" else RESERVE
    room = (free_memory(device) - IMAGES_HELD * 4 * 3 * height * width) / reserve
    if sum(weight.nbytes for weight in network.parameters()) + AMPLE * height * width <= room:
        return None  # without `memory_of`, which imports torch's compiler: two seconds
    tiles = [tile for tile in TILES if smallest_tile(network) <= tile < max(height, width)]
    for tile in (None, *tiles):
        needed = memory_of(network, tile or height, tile or width)
        if needed is None or needed <= room:
            return tile
    return tiles[-1] if tiles else None


def smaller_tile(network: nn.Module, tile: int | None, height: int, width: int) -> int | None:
    """Half a tile, or half the longer side of a whole image; None if that is too small."""
    longest = max(height, width)
    half = min(tile or longest, longest) // 2
    return half if half >= smallest_tile(network) else None


def smallest_tile(network: nn.Module) -> int:
    """The side of tiles below which a network's blocks would see too little."""
    return max(TILES[-1], 2 * multiple_of(network))


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch or NumPy could not get the memory it asked for, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(
        re.search(OUT_OF_MEMORY_ON_CPU, str(error))
    )
