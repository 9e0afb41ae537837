"""How fast the networks are and how much memory they take: `python -m benchmarks.networks`.

Every way of computing a network runs in a process of its own, with the memory allocator that goes
with it: the plain version, by the papers' equations, as published code runs, with the C library's
defaults and, to tell the allocator's share, with this package's; this package's version; the
network it is made of; and with bf16. They are measured in turn, round by round, so that what
disturbs the machine disturbs all; medians are compared.

`benchmarks.gpu` is for GPUs.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.measuring import (
    GUIDED,
    QUEUE,
    RESULTS,
    Subject,
    Variant,
    copy_rate,
    matrix_rate,
    resident_peak,
    write_part,
)

BEGIN, END = "<!-- networks: begin -->", "<!-- networks: end -->"


@dataclass
class Measured:
    """Medians of seconds, and the largest memory of a step in GiB."""

    forward: float
    step: float
    memory: float


def variants_of(network: str) -> list[Variant]:
    """The ways in which a guided network is measured, the one to compare with first."""
    return [
        Variant("plain", network, plain=True, tuned_memory=False),
        Variant("plain, memory kept", network, plain=True),
        Variant("this package", network),
        Variant("this package, bf16", network, amp="bf16"),
        Variant(GUIDED[network], GUIDED[network]),
    ]


def serve(
    pipe: Connection, variant: Variant, batch: int, side: int, queue: int, device: str
) -> None:
    """Build a subject and do what is asked through the pipe."""
    if variant.tuned_memory:
        from constyle_arch.allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    import constyle_arch.archs  # noqa: F401  # so that it counts as the program's memory

    program = resident_peak() if device == "cpu" else 0.0
    subject = Subject(variant, batch, side, queue, device)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        pipe.send(subject.peak() - program if task == "peak" else subject.seconds(task))


class Worker:
    """A process that holds one subject."""

    def __init__(self, variant: Variant, batch: int, side: int, queue: int, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, variant, batch, side, queue, device), daemon=True
        )
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def ask(self, task: str) -> float:
        """Have it measure."""
        self.pipe.send(task)
        return float(self.pipe.recv())

    def end(self) -> None:
        """End the process, and free its memory."""
        self.pipe.send(None)
        self.process.join()


def compare(
    variants: list[Variant], batch: int, side: int, rounds: int, device: str, queue: int = QUEUE
) -> dict[str, Measured]:
    """Measure variants in turn, `rounds` times, each in a new process: together they would not fit
    into memory.
    """
    measured: dict[str, list[Measured]] = {variant.label: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            worker = Worker(variant, batch, side, queue, device)
            seconds = {}
            for what in ("forward", "step"):
                worker.ask(what)  # the first time is not like others
                seconds[what] = worker.ask(what)
            measured[variant.label].append(Measured(**seconds, memory=worker.ask("peak")))
            worker.end()
    return {
        label: Measured(
            *(
                statistics.median(getattr(one, what.name) for one in ones)
                for what in fields(Measured)
            )
        )
        for label, ones in measured.items()
    }


def tables(batch: int, side: int, rounds: int, device: str) -> list[str]:
    """The comparison of each guided network, as Markdown."""
    import torch

    from benchmarks.roofline import traffic
    from constyle_arch import archs
    from constyle_arch.reporting.complexity import count_gmacs

    dtypes = {
        "float32": torch.float32,
        "bf16": torch.bfloat16,
        **({} if device == "cpu" else {"fp16": torch.float16}),
    }
    rates = {name: matrix_rate(device, dtype) for name, dtype in dtypes.items()}
    lines = [
        f"Batches of {batch}×{side}×{side}. Matrix products of this machine: "
        + ", ".join(f"{name} {rate:.2f} TFLOP/s" for name, rate in rates.items())
        + f"; copying {copy_rate(device):.0f} GB/s. The plain version computes each network as "
        "its papers' equations "
        "have it, eager and NCHW; ×: plain's time over this one's. TFLOP/s and GB/s are of the "
        "forward pass; GB/s of "
        "what this package's operators read and write one by one, where they do. Memory is the "
        "largest of all steps, "
        "beyond the program's.",
    ]
    for network in GUIDED:
        print(f"{network}: {rounds} rounds …", flush=True)
        results = compare(variants_of(network), batch, side, rounds, device)
        flop = 2e9 * (count_gmacs(getattr(archs, network)(), side) or 0) * batch
        moved = traffic(getattr(archs, network)(), batch, side)
        plain = results["plain"]
        lines += [
            "",
            f"### {network}",
            "",
            "| | forward, s | × | images/s | TFLOP/s | GB/s | step, s | × | step, GiB | of "
            "plain's |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for label, one in results.items():
            own = label.startswith("this package")
            bytes_each = 1 if "16" not in label else 0.5
            rates_of_one = (
                f"{flop / one.forward / 1e12:.2f}" if own else "",
                f"{moved * bytes_each / one.forward / 1e9:.0f}"
                if own and "compiled" not in label
                else "",
            )
            lines.append(
                f"| {label} | {one.forward:.3f} | {plain.forward / one.forward:.2f} | "
                f"{batch / one.forward:.1f} "
                f"| {' | '.join(rates_of_one)} | {one.step:.3f} | {plain.step / one.step:.2f} "
                f"| {one.memory:.2f} | {one.memory / plain.memory:.2f} |"
            )
    return lines


def growth(rounds: int, device: str) -> dict[str, dict[str, list[tuple[int, Measured]]]]:
    """How time and memory of each guided network grow with pixels, batch and queue."""
    grown: dict[str, dict[str, list[tuple[int, Measured]]]] = {}
    for network in GUIDED:
        print(f"{network}: growth …", flush=True)
        series: dict[str, list[tuple[int, Measured]]] = {
            "side in pixels": [],
            "batch": [],
            "queue": [],
        }
        for side in (64, 128, 256):
            series["side in pixels"].append((side, _alone(network, 2, side, rounds, device)))
        for batch in (2, 4, 8):
            series["batch"].append((batch, _alone(network, batch, 64, rounds, device)))
        for queue in (1_024, 65_760, 262_144):
            series["queue"].append((queue, _alone(network, 2, 64, rounds, device, queue)))
        grown[network] = series
    return grown


def _alone(
    network: str, batch: int, side: int, rounds: int, device: str, queue: int = QUEUE
) -> Measured:
    return compare([Variant("alone", network)], batch, side, rounds, device, queue)["alone"]


def growth_table(grown: dict[str, dict[str, list[tuple[int, Measured]]]]) -> list[str]:
    """The growth as Markdown."""
    lines = [
        "",
        "### Growth",
        "",
        "This package's version, float32, measured once each: pixels at batches of 2, batch and "
        "queue at 64×64.",
        "",
        "![How a step's time and memory grow](growth.svg)",
        "",
        "| | | forward, s | step, s | step, GiB |",
        "|---|---|---|---|---|",
    ]
    for network, series in grown.items():
        for what, points in series.items():
            for value, one in points:
                row = (
                    f"| {network} | {what} {value} | {one.forward:.3f} | {one.step:.3f} | "
                    f"{one.memory:.2f} |"
                )
                lines.append(row)
    return lines


def plot(grown: dict[str, dict[str, list[tuple[int, Measured]]]], path: Path) -> None:
    """Draw the growth: a row for the step's seconds and one for its memory, a column for what
    grows.
    """
    columns = ["side in pixels", "batch", "queue"]
    width, height, margin = 300, 200, 50
    colors = dict(zip(GUIDED, ("#1b9e77", "#d95f02", "#7570b3"), strict=True))
    parts = []
    for row, (unit, value_of) in enumerate(
        (("step, s", lambda m: m.step), ("step, GiB", lambda m: m.memory))
    ):
        for column, what in enumerate(columns):
            left, top = margin + column * (width + margin), 30 + row * (height + margin)
            xs = [value for value, _ in grown[next(iter(GUIDED))][what]]
            most = max(value_of(one) for series in grown.values() for _, one in series[what])
            parts.append(
                f'<rect x="{left}" y="{top}" width="{width}" height="{height}" '
                'fill="none" stroke="#999"/>'
                f'<text x="{left}" y="{top - 6}">{unit}, at most {most:.2f}</text>'
                f'<text x="{left + width / 2}" y="{top + height + 16}" '
                f'text-anchor="middle">{what}: '
                f"{', '.join(f'{x:,}' for x in xs)}</text>"
            )
            for network, series in grown.items():
                points = " ".join(
                    f"{left + width * x / xs[-1]:.1f},"
                    f"{top + height * (1 - value_of(one) / most):.1f}"
                    for x, one in series[what]
                )
                color = colors[network]
                parts.append(
                    f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'
                )
    for number, (network, color) in enumerate(colors.items()):
        x = margin + number * 180
        parts.append(
            f'<text x="{x}" y="{2 * (height + margin) + 30}" fill="{color}">— {network}</text>'
        )
    size = f'width="{margin + 3 * (width + margin)}" height="{2 * (height + margin) + 50}"'
    style = 'font-family="sans-serif" font-size="12"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>\n'
    )


def main() -> None:
    """Measure, and replace this benchmark's part of RESULTS.md and the plot."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-growth", action="store_true", help="leave the growth out")
    arguments = parser.parse_args()
    name = (
        torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    lines = [
        f"{name}, torch {torch.__version__}, Python {platform.python_version()}; medians of "
        f"{arguments.rounds} rounds."
    ]
    lines += tables(arguments.batch, arguments.side, arguments.rounds, arguments.device)
    if not arguments.no_growth:
        grown = growth(1, arguments.device)
        lines += growth_table(grown)
        plot(grown, RESULTS.with_name("growth.svg"))
    write_part(RESULTS, BEGIN, END, lines)


if __name__ == "__main__":
    main()
