"""How fast the networks are on a GPU: `make benchmark-gpu`, or `python -m benchmarks.gpu`.

A row of the table is a way of computing, compared with bfloat16 as it comes or, for the originals,
with spandrel's implementation of the same weights. One way is in memory at a time, and the table is
written after each; what needs compiling comes last, as far as time goes.
"""

import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measuring import (
    GUIDED,
    QUEUE,
    Subject,
    Variant,
    copy_rate,
    machine,
    matrix_rate,
    parser_for,
    write_part,
)

PEERS = ("NAFNet", "Restormer")
KERNELS = 12
"""How many kernels of a step the profile lists."""


def variants_of(network: str, *, compiled: bool = True) -> list[Variant]:
    """The ways in which a network is computed, the one to compare with first."""
    own = Variant("bf16", network, amp="bf16")
    if network in PEERS:
        ways = [replace(own, label="spandrel, bf16", channels_last=False, peer=True), own]
    else:
        first = replace(own, label="bf16, channels first", channels_last=False)
        ways = [own, Variant("float32", network), first, Variant("fp16", network, amp="fp16")]
    return [*ways, replace(own, label="bf16, compiled", compile=True)] if compiled else ways


@dataclass
class Measured:
    """Medians of seconds, memory of a step in GiB, and its kernels where they are listed: name,
    seconds, calls.
    """

    forward: float
    step: float
    memory: float
    kernels: list[tuple[str, float, int]]

    @property
    def busy(self) -> float:
        """The share of a step during which a kernel runs."""
        return sum(seconds for _, seconds, _ in self.kernels) / self.step


def serve(
    pipe: Connection, variants: list[Variant], batch: int, side: int, rounds: int, device: str
) -> None:
    """Measure variants one after the other, and send each, or what went wrong, in words."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32
    for variant in variants:
        try:
            pipe.send(measured(variant, batch, side, rounds, device))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        empty_cache(device)


def measured(variant: Variant, batch: int, side: int, rounds: int, device: str) -> Measured:
    """Build a network and measure it; nothing of it is left."""
    subject = Subject(variant, batch, side, QUEUE, device)
    medians = {}
    for what in ("forward", "step"):
        times = [subject.seconds(what) for _ in range(2 + rounds)]
        medians[what] = statistics.median(times[2:])
    kernels = profile(subject) if variant.label == "bf16" else []
    return Measured(**medians, memory=step_memory(subject), kernels=kernels)


def empty_cache(device: str) -> None:
    """Give the memory that nothing uses to the other processes."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()


def step_memory(subject: Subject) -> float:
    """What a step holds at most beyond weights and optimizer, GiB; NaN on a CPU."""
    import torch

    if subject.device.type != "cuda":
        return float("nan")
    subject.optimizer.zero_grad(set_to_none=True)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    subject.step()
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def profile(subject: Subject) -> list[tuple[str, float, int]]:
    """The kernels of a step, those it spends most time in first: name, seconds, calls."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU]
    if subject.device.type == "cuda":
        activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        subject.seconds("step")
    kernels = profiler.key_averages()
    spent = "self_device_time_total" if subject.device.type == "cuda" else "self_cpu_time_total"
    found = [(kernel.key[:90], getattr(kernel, spent) / 1e6, kernel.count) for kernel in kernels]
    return sorted((one for one in found if one[1] > 0), key=lambda one: -one[1])


def in_turn(variants: list[Variant], deadline: float, *sizes: Any) -> Iterator[Measured | str]:
    """Measure variants in a process of their own, with `sizes` for `serve`, until the deadline.

    That is by `time.monotonic`; of variants for which time did not do, nothing comes.
    """
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, variants, *sizes), daemon=True)
    process.start()
    theirs.close()
    for _ in variants:
        if not pipe.poll(max(0.0, deadline - time.monotonic())):
            break
        try:
            yield pipe.recv()
        except EOFError:
            yield "its process died"
            break
    process.kill()
    process.join()


def table(
    network: str, results: Mapping[str, Measured], batch: int, side: int, peak: float
) -> list[str]:
    """The Markdown table of a network."""
    from constyle_arch import archs
    from constyle_arch.reporting.complexity import count_gmacs

    flop = 2e9 * (count_gmacs(getattr(archs, network)(), side) or 0) * batch
    lines = [
        f"### {network}",
        "",
        "| | restored, images/s | × | TFLOP/s | of the card's | trained, images/s | × | step, GiB "
        "|",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    base = next(iter(results.values()))
    for label, one in results.items():
        rate = flop / one.forward / 1e12
        lines.append(
            f"| {label} | {batch / one.forward:.0f} | {base.forward / one.forward:.2f} | "
            f"{rate:.1f} | {rate / peak:.0%} | {batch / one.step:.0f} | {base.step / one.step:.2f} "
            f"| {one.memory:.2f} |"
        )
    for one in results.values():
        if one.kernels:
            count = sum(calls for _, _, calls in one.kernels)
            summary = f"Kernels of a step, bf16: {count}, which run for {one.busy:.0%} of its time"
            lines += ["", f"<details><summary>{summary}</summary>", ""]
            lines += ["| | of the step | calls |", "|---|---:|---:|"]
            lines += [
                f"| `{name.replace('|', '¦')}` | {seconds / one.step:.0%} | {calls} |"
                for name, seconds, calls in one.kernels[:KERNELS]
            ]
            lines += ["", "</details>"]
    return [*lines, ""]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and replace this benchmark's part of RESULTS.md."""
    import torch

    parser = parser_for(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--networks", nargs="+", default=[*GUIDED, *PEERS], choices=[*GUIDED, *PEERS]
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--eager", action="store_true", help="without what torch.compile makes, which takes minutes"
    )
    parser.add_argument(
        "--minutes", type=float, default=9, help="what is not measured by then is left out"
    )
    chosen = parser.parse_args(arguments)
    deadline = time.monotonic() + 60 * chosen.minutes
    sizes = chosen.batch, chosen.side, chosen.rounds, chosen.device
    peak, copying = matrix_rate(chosen.device, torch.bfloat16), copy_rate(chosen.device)
    empty_cache(chosen.device)
    head = [
        f"{machine(chosen.device)}; `make benchmark-gpu`; medians of {chosen.rounds} rounds, "
        f"batches of {chosen.batch}×{chosen.side}×{chosen.side}. bf16 matrix products of this "
        f"card: {peak:.0f} TFLOP/s; copying {copying:.0f} GB/s. float32 is with TF32. ×: the first "
        "row's time over this one's. Memory is what a step holds at most beyond weights and "
        "optimizer.",
        "",
    ]
    variants = {
        network: variants_of(network, compiled=not chosen.eager) for network in chosen.networks
    }
    eager = [[one for one in several if not one.compile] for several in variants.values()]
    compiled = [[one] for several in variants.values() for one in several if one.compile]
    results: dict[str, dict[str, Measured]] = defaultdict(dict)
    missing: list[str] = []
    for several in [*eager, *compiled]:
        for variant, one in zip_longest(
            several, in_turn(several, deadline, *sizes), fillvalue="time was up"
        ):
            assert isinstance(variant, Variant)
            print(f"{variant.network}, {variant.label}: {one}", flush=True)
            if isinstance(one, Measured):
                results[variant.network][variant.label] = one
            else:
                missing.append(f"- {variant.network}, {variant.label}, is missing: {one}.")
            tables = [
                table(network, of_one, chosen.batch, chosen.side, peak)
                for network, of_one in results.items()
            ]
            write_part(chosen.results, "gpu", [*head, *chain(*tables), *missing])


if __name__ == "__main__":
    main()
