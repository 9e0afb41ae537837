"""Seconds of a training step of small networks on one core: `python -m benchmarks.small_networks`.

Networks and precisions take turns, so that what else the machine does falls on all of them; the
medians are printed.
"""

import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from constyle_arch.allocator import keep_freed_memory
from constyle_arch.archs import ConStyleConv, ConStyleNAFNet, ConStyleRestormer, NAFNet
from constyle_arch.reporting.complexity import count_parameters
from constyle_arch.reporting.scores import markdown_table

BATCH = (8, 3, 64, 64)
ROUNDS = 9
BLOCKS = {"num_blocks_down": (1, 1, 1), "num_blocks_bottleneck": 1, "num_blocks_up": (1, 1, 1)}


def main() -> None:
    """Measure and print a table."""
    keep_freed_memory()
    torch.set_num_threads(1)
    networks = {
        "ConStyle-Conv, dim 16": ConStyleConv(dim=16, activation="leaky_relu"),
        "ConStyle-Conv, dim 16, PReLU": ConStyleConv(dim=16),
        "ConStyle-NAFNet, dim 16": ConStyleNAFNet(dim=16, **BLOCKS),
        "ConStyle-Restormer, dim 16": ConStyleRestormer(dim=16, **BLOCKS, num_refinement_blocks=0),
        "NAFNet, width 16": NAFNet(
            width=16, enc_blk_nums=(1, 1, 1), middle_blk_num=1, dec_blk_nums=(1, 1, 1)
        ),
    }
    seconds: dict[tuple[str, bool], list[float]] = {}
    for number in range(1 + ROUNDS):
        for name, network in networks.items():
            for half in (False, True):
                taken = step(network.train(), half)
                if number:  # the first one warms up
                    seconds.setdefault((name, half), []).append(taken)
    rows = [
        [
            name,
            f"{count_parameters(network) / 1e6:.2f}",
            *(f"{median(seconds[name, half]):.3f}" for half in (False, True)),
        ]
        for name, network in networks.items()
    ]
    print(f"Batches of {BATCH[0]}×{BATCH[2]}×{BATCH[3]}, one thread, medians of {ROUNDS} rounds.\n")
    print(markdown_table(["network", "M", "float32, s", "bfloat16, s"], rows))


def step(network: nn.Module, half: bool) -> float:
    """Seconds of a forward and a backward pass."""
    image = torch.rand(BATCH).to(memory_format=torch.channels_last)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        restored = network(image)
    F.l1_loss(restored.float(), image).backward()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
