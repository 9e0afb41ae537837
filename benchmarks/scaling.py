"""How training goes with more processes: `python -m benchmarks.scaling`; on GPUs with nccl, on CPUs
with gloo.

Measured: steps of one and more processes, each with a batch of one size (weak scaling) or a share
of one batch (strong scaling). Computed: what each process sends and receives in a step.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import spawn

from benchmarks.measuring import GUIDED, QUEUE, Subject, Variant, machine, parser_for, write_part
from constyle_arch import archs
from constyle_arch.allocator import keep_freed_memory
from constyle_arch.archs.constyle_arch import CODE_CHANNELS
from constyle_arch.data.workers import available_cores
from constyle_arch.reporting.complexity import count_parameters

GPUS = (8, 64, 512)
"""Numbers of processes whose traffic is computed."""
BATCH_OF_EACH = 8
"""Images of a process that the traffic of codes is computed for."""


def train(
    rank: int,
    count: int,
    network: str,
    batch: int,
    side: int,
    rounds: int,
    device: str,
    threads: int,
    folder: str,
) -> None:
    """A process of a data-parallel training; the first writes its steps' median into `folder`."""
    here = f"cuda:{rank}" if device == "cuda" else device
    if device == "cuda":
        torch.cuda.set_device(rank)
    else:
        keep_freed_memory()
        torch.set_num_threads(threads)
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=count,
    )
    variant = Variant("", network, amp="bf16" if device == "cuda" else "off")
    subject = Subject(variant, batch, side, QUEUE, here)
    subject.network = torch.nn.parallel.DistributedDataParallel(subject.network)
    times = [subject.seconds("step") for _ in range(rounds + 2)][2:]
    if rank == 0:
        Path(folder, "seconds").write_text(str(statistics.median(times)))
    distributed.destroy_process_group()


def threads_of(counts: Sequence[int]) -> int:
    """Threads of each process on CPUs: the same however many there are, so that they compare."""
    return max(1, available_cores() // max(counts))


def seconds(count: int, *arguments: Any) -> float:
    """What a step of `count` processes takes; see `train` for the arguments."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(train, (count, *arguments, folder), nprocs=count)
        return float(Path(folder, "seconds").read_text())


def sent(network: str, processes: int) -> tuple[float, float]:
    """Bytes that a process sends in a step, and receives as many: of gradients, and of all else.

    Gradients are added up around a ring, in float32: 2 (n − 1) / n of them pass through each
    process. Codes go from all to all, each process's around the ring. BatchNorm's statistics come
    from the first process.
    """
    built = getattr(archs, network)()
    gradients = 8 * count_parameters(built) * (processes - 1) / processes
    codes = 4 * CODE_CHANNELS * BATCH_OF_EACH * (processes - 1)
    statistics_of_both = 2 * sum(
        buffer.numel() * buffer.element_size() for buffer in built.encoder.buffers()
    )
    return gradients, codes + statistics_of_both


def measured_rows(
    network: str, counts: Sequence[int], batch: int, side: int, rounds: int, device: str
) -> list[str]:
    """A network's rows of the measured table."""
    lines = []
    alone = None
    for count in counts:
        rates = [
            count * each / seconds(count, network, each, side, rounds, device, threads_of(counts))
            for each in (batch, batch // count)
        ]
        alone = alone or rates
        shares = [rate / one / count for rate, one in zip(rates, alone, strict=True)]
        lines.append(
            f"| {network} | {count} | {rates[0]:.1f} | {shares[0]:.0%} | {rates[1]:.1f} | "
            f"{shares[1]:.0%} |"
        )
        print(lines[-1], flush=True)
    return lines


def computed_rows() -> list[str]:
    """The rows of the computed table."""
    lines = []
    for network in GUIDED:
        volumes = []
        for processes in GPUS:
            gradients, others = sent(network, processes)
            volumes.append(f" {gradients / 1e6:.1f} + {others / 1e6:.2f} |")
        lines.append(f"| {network} |{''.join(volumes)}")
    return lines


def main() -> None:
    """Measure, and replace this benchmark's part of RESULTS.md."""
    parser = parser_for(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", nargs="+", default=["ConStyleNAFNet"], choices=[*GUIDED])
    parser.add_argument(
        "--counts", nargs="+", type=int, default=[1, 2], help="of processes, the first with 1"
    )
    parser.add_argument("--batch", type=int, default=4, help="of a process, and of all together")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sizes = arguments.batch, arguments.side, arguments.rounds, arguments.device
    measured = [
        line
        for network in arguments.networks
        for line in measured_rows(network, arguments.counts, *sizes)
    ]
    lines = [
        f"{machine(arguments.device)}; crops of {arguments.side}×{arguments.side}, a batch of "
        f"{arguments.batch} for each process (weak) or for all together (strong); medians of "
        f"{arguments.rounds} steps. Threads of each process, on a CPU: "
        f"{threads_of(arguments.counts)}.",
        "",
        "| network | processes | weak, images/s | of linear | strong, images/s | of linear |",
        "|---|---:|---:|---:|---:|---:|",
        *measured,
        "",
        "What a process sends in a step, and receives as much, in MB (computed): gradients in "
        f"float32 around a ring, and the codes of {BATCH_OF_EACH} images with BatchNorm's "
        "statistics:",
        "",
        "| network |" + "".join(f" {processes} GPUs |" for processes in GPUS),
        "|---|" + "---:|" * len(GPUS),
        *computed_rows(),
    ]
    write_part(arguments.results, "scaling", lines)


if __name__ == "__main__":
    main()
