"""How fast the networks are on a GPU: `make benchmark-gpu`, or `python -m benchmarks.gpu`.

Each network has a process of its own, which builds and compiles all ways of computing it; the processes prepare side by
side and measure one after the other. A row of the table is a way of computing, compared with the equations in bfloat16
or, for the originals, with spandrel's implementation of the same weights.
"""

import argparse
import multiprocessing
import platform
import statistics
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.networks import GUIDED, QUEUE, Subject, Variant, copy_rate, matrix_rate, write_part

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
PEERS = ("NAFNet", "Restormer")
SLOW_TO_TRACE = ("ConStyleMaxim",)
KERNELS = 12
"""How many kernels of a step the profile lists."""


def variants_of(network: str, *, compiled: bool = True) -> list[Variant]:
    """The ways in which a network is computed, the one to compare with first."""
    own = Variant("bf16", network, amp="bf16")
    both = (False, True) if compiled else (False,)
    if network in PEERS:
        peers = [
            Variant("spandrel, bf16", network, amp="bf16", channels_last=False, peer=True, compile=c) for c in both
        ]
        return [_said(one) for one in (*peers, *(replace(own, compile=c) for c in both))]
    return [
        _said(one)
        for one in (
            Variant("the equations, bf16", network, amp="bf16", plain=True),
            Variant("float32", network),
            own,
            replace(own, label="bf16, channels first", channels_last=False),
            Variant("fp16", network, amp="fp16"),
            *([replace(own, compile=True)] if compiled and network not in SLOW_TO_TRACE else []),
        )
    ]


def _said(variant: Variant) -> Variant:
    return replace(variant, label=f"{variant.label}, compiled") if variant.compile else variant


def serve(pipe: Connection, variants: list[Variant], batch: int, side: int, rounds: int, device: str) -> None:
    """Compile what of a network is to be compiled, say so, and measure all its variants when asked."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32
    compiled = {one.label: prepared(one, batch, side, device) for one in variants if one.compile}
    pipe.send("prepared")
    pipe.recv()
    measured: dict[str, Any] = {}
    kernels: list[tuple[str, float, int]] = []
    for variant in variants:
        subject = compiled.get(variant.label) or prepared(variant, batch, side, device)
        seconds = {what: [subject.seconds(what) for _ in range(rounds)] for what in ("forward", "step")}
        measured[variant.label] = {what: statistics.median(times) for what, times in seconds.items()}
        measured[variant.label]["memory"] = step_memory(subject)
        if variant.label == "bf16":
            kernels = profile(subject)
        del subject
        compiled.pop(variant.label, None)
        empty_cache(device)
    pipe.send((measured, kernels))


def prepared(variant: Variant, batch: int, side: int, device: str) -> Subject:
    """A subject that has made its first steps; compiled, if it is to be."""
    subject = Subject(variant, batch, side, QUEUE, device)
    for what in ("forward", "step"):
        for _ in range(2):
            subject.seconds(what)
    subject.optimizer.zero_grad(set_to_none=True)
    empty_cache(device)
    return subject


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
    """The kernels that a step spends most of its time in: name, share of all kernels' time, calls."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU]
    if subject.device.type == "cuda":
        activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        subject.seconds("step")
    kernels = profiler.key_averages()
    spent = "self_device_time_total" if subject.device.type == "cuda" else "self_cpu_time_total"
    total = sum(getattr(kernel, spent) for kernel in kernels)
    kernels = sorted(kernels, key=lambda kernel: -getattr(kernel, spent))[:KERNELS]
    return [(kernel.key[:90], getattr(kernel, spent) / total, kernel.count) for kernel in kernels]


def measure(
    networks: list[str], batch: int, side: int, rounds: int, device: str, *, compiled: bool, patience: float
) -> dict[str, Any]:
    """All networks: what `serve` measured, by network."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    for network in networks:
        ours, theirs = context.Pipe()
        variants = variants_of(network, compiled=compiled)
        process = context.Process(target=serve, args=(theirs, variants, batch, side, rounds, device), daemon=True)
        process.start()
        theirs.close()
        workers[network] = ours, process
    deadline = time.monotonic() + patience
    for network, (pipe, process) in list(workers.items()):
        if pipe.poll(max(0, deadline - time.monotonic())):
            pipe.recv()
            print(f"{network} is prepared", flush=True)
        else:
            process.kill()
            del workers[network]
            print(f"{network} is left out: it was not compiled within {patience:.0f} s", flush=True)
    results = {}
    for network, (pipe, process) in workers.items():
        pipe.send("measure")
        results[network] = pipe.recv()
        print(network, *(f"\n  {label}: {one}" for label, one in results[network][0].items()), flush=True)
        process.join()
    return results


def table(network: str, measured: dict[str, Any], batch: int, side: int, peak: float) -> list[str]:
    """The Markdown table of a network."""
    from constyle_arch import archs
    from constyle_arch.reporting.complexity import count_gmacs

    flop = 2e9 * (count_gmacs(getattr(archs, network)(), side) or 0) * batch
    lines = [
        f"### {network}",
        "",
        "| | restored, images/s | × | TFLOP/s | of the card's | trained, images/s | × | step, GiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    base = next(iter(measured.values()))
    for label, one in measured.items():
        rate = flop / one["forward"] / 1e12
        lines.append(
            f"| {label} | {batch / one['forward']:.0f} | {base['forward'] / one['forward']:.2f} | {rate:.1f} "
            f"| {rate / peak:.0%} | {batch / one['step']:.0f} | {base['step'] / one['step']:.2f} "
            f"| {one['memory']:.2f} |"
        )
    return [*lines, ""]


def main() -> None:
    """Measure, print, and replace this benchmark's part of RESULTS.md."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", nargs="+", default=[*GUIDED, *PEERS], choices=[*GUIDED, *PEERS])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--eager", action="store_true", help="without what torch.compile makes, which takes minutes")
    parser.add_argument("--patience", type=float, default=400, help="seconds for compiling")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file whose part is replaced")
    arguments = parser.parse_args()
    batch, side, device = arguments.batch, arguments.side, arguments.device
    peak = matrix_rate(device, torch.bfloat16)
    results = measure(
        arguments.networks,
        batch,
        side,
        arguments.rounds,
        device,
        compiled=not arguments.eager,
        patience=arguments.patience,
    )
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    lines = [
        f"{name}, torch {torch.__version__}, Python {platform.python_version()}; `make benchmark-gpu`; medians of "
        f"{arguments.rounds} rounds, batches of {batch}×{side}×{side}. bf16 matrix products of this card: {peak:.0f} "
        f"TFLOP/s; copying {copy_rate(device):.0f} GB/s. float32 is with TF32. ×: the first row's time over this "
        "one's. Memory is what a step holds at most beyond weights and optimizer.",
        "",
    ]
    for network, (measured, kernels) in results.items():
        lines += table(network, measured, batch, side, peak)
        lines += ["<details><summary>Kernels of a step, bf16</summary>", "", "| | time | calls |", "|---|---:|---:|"]
        lines += [f"| `{kernel.replace('|', '¦')}` | {share:.0%} | {calls} |" for kernel, share, calls in kernels]
        lines += ["", "</details>", ""]
    write_part(arguments.results, BEGIN, END, lines)


if __name__ == "__main__":
    main()
