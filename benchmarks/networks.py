"""How fast the networks are and how much memory they take: `python -m benchmarks.networks`.

Every way of computing a network runs in a process of its own, with the memory allocator that goes
with it: the plain version, by the papers' equations, as published code runs, with the C library's
defaults and, to tell the allocator's share, with this package's; this package's version; the
network it is made of; and with bf16. They are measured in turn, round by round, so that what
disturbs the machine disturbs all; medians are compared.

`benchmarks.gpu` is for GPUs.
"""

import statistics
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from benchmarks.measuring import (
    GUIDED,
    QUEUE,
    Subject,
    Variant,
    copy_rate,
    machine,
    matrix_rate,
    own_process,
    parser_for,
    prepare_process,
    resident_peak,
    write_part,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def measured(variant: Variant, batch: int, side: int, queue: int, device: str) -> Measured:
    """Measure a network in this process, beyond whose memory its own is counted."""
    import constyle_arch.archs  # noqa: F401  # so that it counts as the program's memory

    program = resident_peak() if device == "cpu" else 0.0
    subject = Subject(variant, batch, side, queue, device)
    seconds = {}
    for what in ("forward", "step"):
        subject.seconds(what)  # the first time is not like others
        seconds[what] = subject.seconds(what)
    return Measured(**seconds, memory=subject.peak() - program)


def compare(
    variants: list[Variant], batch: int, side: int, rounds: int, device: str, queue: int = QUEUE
) -> dict[str, Measured]:
    """Measure variants in turn, `rounds` times, each in a new process: together they would not fit
    into memory.
    """
    every: dict[str, list[Measured]] = {variant.label: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            with own_process(prepare_process, variant.tuned_memory) as process:
                one = process.submit(measured, variant, batch, side, queue, device).result()
            every[variant.label].append(one)
    return {
        label: Measured(*map(statistics.median, zip(*map(astuple, ones), strict=True)))
        for label, ones in every.items()
    }


def tables(batch: int, side: int, rounds: int, device: str) -> list[str]:
    """The comparison of each guided network, as Markdown."""
    import torch

    from benchmarks.roofline import traffic
    from constyle_arch import archs
    from constyle_arch.reporting.complexity import count_gmacs

    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    dtypes |= {} if device == "cpu" else {"fp16": torch.float16}
    rates = {name: matrix_rate(device, dtype) for name, dtype in dtypes.items()}
    products = ", ".join(f"{name} {rate:.2f} TFLOP/s" for name, rate in rates.items())
    lines = [
        f"Batches of {batch}×{side}×{side}. Matrix products of this machine: {products}; copying "
        f"{copy_rate(device):.0f} GB/s. The plain version computes each network as its papers' "
        "equations have it, eager and NCHW; ×: plain's time over this one's. TFLOP/s and GB/s are "
        "of the forward pass; GB/s of what this package's operators read and write one by one, "
        "where they do. Memory is the largest of all steps, beyond the program's."
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
            "| | forward, s | × | images/s | TFLOP/s | GB/s | step, s | × | step, GiB | of plain's "
            "|",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for label, one in results.items():
            rates_of_one = " | "
            if label.startswith("this package"):
                gigabytes = moved * (0.5 if "16" in label else 1) / 1e9
                rates_of_one = f"{flop / one.forward / 1e12:.2f} | {gigabytes / one.forward:.0f}"
            lines.append(
                f"| {label} | {one.forward:.3f} | {plain.forward / one.forward:.2f} | "
                f"{batch / one.forward:.1f} | {rates_of_one} | {one.step:.3f} | "
                f"{plain.step / one.step:.2f} | {one.memory:.2f} | {one.memory / plain.memory:.2f} "
                "|"
            )
    return lines


Growth = dict[str, dict[str, list[tuple[int, Measured]]]]
"""By network, then by what grows: its values, and what was measured."""


def growth(rounds: int, device: str) -> Growth:
    """How time and memory of each guided network grow with pixels, batch and queue."""
    grown: Growth = {}
    for network in GUIDED:
        print(f"{network}: growth …", flush=True)
        sizes = {
            "side in pixels": [(side, (2, side, QUEUE)) for side in (64, 128, 256)],
            "batch": [(batch, (batch, 64, QUEUE)) for batch in (2, 4, 8)],
            "queue": [(queue, (2, 64, queue)) for queue in (1_024, 65_760, 262_144)],
        }
        grown[network] = {
            what: [(value, _alone(network, rounds, device, *size)) for value, size in points]
            for what, points in sizes.items()
        }
    return grown


def _alone(network: str, rounds: int, device: str, batch: int, side: int, queue: int) -> Measured:
    return compare([Variant("alone", network)], batch, side, rounds, device, queue)["alone"]


def growth_table(grown: Growth) -> list[str]:
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
    return lines + [
        f"| {network} | {what} {value} | {one.forward:.3f} | {one.step:.3f} | {one.memory:.2f} |"
        for network, series in grown.items()
        for what, points in series.items()
        for value, one in points
    ]


def growth_figure(grown: Growth) -> "Figure":
    """A row of panels for the step's seconds and one for its memory, a column for what grows."""
    from matplotlib.ticker import EngFormatter

    from constyle_arch.reporting.figures import add_legend, colors_of, empty_figure, frame

    columns = list(next(iter(grown.values())))
    figure = empty_figure(11, 6)
    panels = figure.subplots(2, len(columns), sharex="col")
    for row, unit, value in zip(panels, ("step, s", "step, GiB"), ("step", "memory"), strict=True):
        for axes, what in zip(row, columns, strict=True):
            frame(axes, unit)
            axes.set_xlabel(what)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            for series, color in zip(grown.values(), colors_of(len(grown)), strict=True):
                values, measured_there = zip(*series[what], strict=True)
                heights = [getattr(one, value) for one in measured_there]
                axes.plot(values, heights, "o-", color=color)
            axes.set_ylim(bottom=0)
    add_legend(figure, panels[0][0].lines, list(grown), loc="outside lower center", ncols=3)
    return figure


def main() -> None:
    """Measure, and replace this benchmark's part of RESULTS.md and the plot."""
    import torch

    parser = parser_for(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-growth", action="store_true", help="leave the growth out")
    arguments = parser.parse_args()
    lines = [f"{machine(arguments.device)}; medians of {arguments.rounds} rounds."]
    lines += tables(arguments.batch, arguments.side, arguments.rounds, arguments.device)
    if not arguments.no_growth:
        grown = growth(1, arguments.device)
        lines += growth_table(grown)
        from constyle_arch.reporting.figures import save_figure

        save_figure(growth_figure(grown), arguments.results.with_name("growth.svg"))
    write_part(arguments.results, "networks", lines)


if __name__ == "__main__":
    main()
