"""NAFNet and Restormer beside spandrel's of the same weights: `make benchmark`, or `python -m
benchmarks.peers`.

Both take turns in one process, so that threads, memory allocator and what disturbs the machine are
the same for both. A second process, in turn with the first, has the C library's allocator as it
comes, to tell its share apart; memory is measured there, where what is freed is gone.
"""

import ctypes
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measuring import (
    Subject,
    Variant,
    machine,
    own_process,
    parser_for,
    prepare_process,
    resident_peak,
    write_part,
)
from constyle_arch.inference.restoring import restore

PEERS = ("NAFNet", "Restormer")
TOLERANCE = 1e-4
TWELVE_MEGAPIXELS = (3000, 4000)
TILE = 256
"""In which a photograph is restored: no network takes 12 megapixels at once in 24 GiB."""
KEPT, AS_IT_COMES = "float32", "float32, the C library's allocator"


@dataclass(frozen=True)
class Task:
    """What is measured, of spandrel's network and this package's in turn."""

    what: str
    """`forward` or `step`."""
    way: str
    """KEPT, AS_IT_COMES, `bf16` or `compiled`."""
    batch: int
    height: int
    width: int

    def __str__(self) -> str:
        size = f"{self.batch}×{self.height}×{self.width}"
        return f"{'forward' if self.what == 'forward' else 'training step'}, {size}"


def tasks(sides: list[int], step_side: int, *, compiled: bool) -> Iterator[Task]:
    """The table's rows."""
    first, *others = sides
    if compiled:
        yield from (Task("forward", way, 1, first, first) for way in (KEPT, "compiled"))
        return
    yield from (Task("forward", way, 1, first, first) for way in (KEPT, AS_IT_COMES, "bf16"))
    yield from (Task("forward", KEPT, 1, side, side) for side in others)
    yield from (Task("step", way, 2, step_side, step_side) for way in (KEPT, AS_IT_COMES, "bf16"))


class Pair:
    """Spandrel's network and this package's, in the process that measures them."""

    def __init__(self, network: str) -> None:
        self.network = network
        self.subjects: dict[tuple[bool, bool], Subject] = {}

    def subject(self, task: Task, peer: bool) -> Subject:
        """One of the two, ready for a task; compiled ones are apart from eager ones."""
        from constyle_arch.models.acceleration import Acceleration

        compiled = task.way == "compiled"
        if (compiled, peer) not in self.subjects:
            variant = Variant("", self.network, channels_last=not peer, compile=compiled, peer=peer)
            self.subjects[compiled, peer] = Subject(variant, 1, 8, 1, "cpu")
        subject = self.subjects[compiled, peer]
        subject.acceleration = Acceleration(amp="bf16" if task.way == "bf16" else "off")
        subject.feed(task.batch, task.height, task.width)
        return subject

    def seconds(self, task: Task, peer: bool) -> float:
        """How long it takes."""
        return self.subject(task, peer).seconds(task.what)

    def memory(self, task: Task, peer: bool) -> float:
        """What it holds at most beyond weights and optimizer, GiB; NaN where nothing tells."""
        subject = self.subject(task, peer)
        subject.optimizer.zero_grad(set_to_none=True)
        try:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is held now
        except (AttributeError, OSError):
            return math.nan
        before = resident_peak()
        subject.seconds(task.what)
        return resident_peak() - before

    def difference(self, task: Task, _: bool) -> float:
        """The largest between both results, in [0, 1]."""
        results = [self.subject(task, peer).forward() for peer in (True, False)]
        return float((results[0] - results[1]).abs().max())


@cache
def pair_of(network: str) -> Pair:
    """The pair of a process."""
    return Pair(network)


def machine_and_peers() -> str:
    """What a part of RESULTS.md begins with: the machine, and the versions of what is beside us."""
    packages = ("spandrel", "spandrel_extra_arches")
    return ", ".join([machine(), *(f"{package} {version(package)}" for package in packages)])


class InTurn(nn.Module):
    """A network's pair: both restore each tile of a photograph, one after the other."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        task = Task("forward", KEPT, 1, TILE, TILE)
        self.subjects = [pair.subject(task, peer) for peer in (True, False)]
        self.seconds: tuple[list[float], list[float]] = ([], [])
        self.network = self.subjects[1].network  # whose device `restore` asks for

    def forward(self, tile: Tensor) -> Tensor:
        """What this package's network makes of `tile` (N, 3, H, W)."""
        for subject, seconds in zip(self.subjects, self.seconds, strict=True):
            subject.lq = tile
            start = time.perf_counter()
            restored: Tensor = subject.forward()
            seconds.append(time.perf_counter() - start)
        return restored


def photographed(network: str, height: int, width: int) -> tuple[list[float], list[float]]:
    """Seconds of each tile of a photograph of noise, of the peer and of this package."""
    both = InTurn(pair_of(network))
    generator = torch.Generator().manual_seed(1)
    restore(both, torch.rand(3, height, width, generator=generator), tile=TILE, progress=True)
    return both.seconds


def photograph_page(networks: list[str], height: int, width: int) -> Iterator[list[str]]:
    """The part of RESULTS.md on a photograph, after each network."""
    lines = [
        f"{machine_and_peers()}; a photograph of {width}×{height} pixels, noise, in "
        f"tiles of {TILE} that overlap by 32, float32, both networks tile by tile in turn, memory "
        "kept. ×: the median of each tile's ratio and its quartiles.",
        "",
        "| network | tiles | spandrel, s | this package, s | × |",
        "|---|---:|---:|---:|---:|",
    ]
    for network in networks:
        with own_process(prepare_process, True) as process:
            seconds = process.submit(photographed, network, height, width).result()
        theirs, own = map(sum, seconds)
        tiles = len(seconds[0])
        lines.append(f"| {network} | {tiles} | {theirs:.0f} | {own:.0f} | {quartiles(*seconds)} |")
        yield lines


def answer(network: str, what: str, task: Task, peer: bool) -> float:
    """What a method of this process's pair says."""
    return float(getattr(pair_of(network), what)(task, peer))


@dataclass
class Compared:
    """Seconds of each round, of the peer and of this package; of the first time; memory in GiB."""

    seconds: tuple[list[float], list[float]]
    first: tuple[float, float]
    memory: tuple[float, float]


def compare(network: str, wanted: list[Task], rounds: int) -> tuple[dict[Task, Compared], float]:
    """Measure all tasks in turn, `rounds` times.

    Returns:
        What was measured, and the largest difference between both results.

    Raises:
        ValueError: the results differ by more than `TOLERANCE`, so that the times compare nothing.
    """
    with own_process(prepare_process, True) as kept, own_process(prepare_process, False) as other:

        def ask(what: str, task: Task, peer: bool) -> float:
            process = other if task.way == AS_IT_COMES else kept
            return process.submit(answer, network, what, task, peer).result()

        if (difference := ask("difference", wanted[0], False)) > TOLERANCE:
            raise ValueError(
                f"{network}'s results differ from spandrel's by {difference:.1e}; wanted "
                f"{TOLERANCE}."
            )
        results = {}
        for task in wanted:
            first = ask("seconds", task, True), ask("seconds", task, False)
            results[task] = Compared(([], []), first, (math.nan, math.nan))
        for number in range(rounds):
            print(f"{network}: round {number + 1} of {rounds} …", flush=True)
            for task, one in results.items():
                for seconds, peer in zip(one.seconds, (True, False), strict=True):
                    seconds.append(ask("seconds", task, peer))
        for task, one in results.items():
            if task.way == AS_IT_COMES:
                one.memory = ask("memory", task, True), ask("memory", task, False)
    return results, difference


def quartiles(numerators: list[float], denominators: list[float]) -> str:
    """The median of the ratios of each round, and their quartiles."""
    ratios = [one / other for one, other in zip(numerators, denominators, strict=True)]
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, method="inclusive")
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def rows(network: str, results: dict[Task, Compared]) -> list[str]:
    """A network's rows of the table, and what the allocator does to spandrel's."""
    lines = []
    for task, one in results.items():
        theirs, own = (statistics.median(seconds) for seconds in one.seconds)
        memory = "".join(" |" if math.isnan(size) else f" {size:.2f} |" for size in one.memory)
        way = task.way
        if way == "compiled":
            starts = (
                f"{first - seconds:.0f} s"
                for first, seconds in zip(one.first, (theirs, own), strict=True)
            )
            way += f", after {' and '.join(starts)}"
        lines.append(
            f"| {network} | {task} | {way} | {theirs:.3f} | {own:.3f} | {quartiles(*one.seconds)} "
            f"|{memory}"
        )
    return lines


def allocators(network: str, results: dict[Task, Compared]) -> list[str]:
    """What the C library's allocator alone costs spandrel's network."""
    return [
        f"- {network}, {task}: {quartiles(one.seconds[0], kept.seconds[0])}"
        for task, one in results.items()
        if task.way == AS_IT_COMES and (kept := results.get(replace(task, way=KEPT)))
    ]


def page(table: list[str], shares: list[str], differences: list[str], rounds: int) -> list[str]:
    """This benchmark's part of RESULTS.md."""
    lines = [
        f"{machine_and_peers()}; medians of {rounds} rounds. ×: spandrel's time over "
        "this package's, the median of each round's ratio and its quartiles; both in one process, "
        "in turn, with one allocator: where no other is named it keeps what is freed. GiB: the "
        "most that one pass holds beyond weights and optimizer. The largest difference between "
        f"both results: {', '.join(differences)}.",
        "",
        "| network | | | spandrel, s | this package, s | × | spandrel, GiB | this package, GiB |",
        "|---|---|---|---:|---:|---:|---:|---:|",
        *table,
    ]
    if shares:
        what = "What the C library's allocator as it comes costs spandrel's networks besides, its "
        lines += ["", f"{what}time over that with memory kept:", "", *shares]
    return lines


def main() -> None:
    """Measure, and replace this benchmark's part of RESULTS.md."""
    parser = parser_for(__doc__)
    parser.add_argument("--networks", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument(
        "--sides", nargs="+", type=int, default=[256, 512], help="of the images to restore"
    )
    parser.add_argument(
        "--step-side", type=int, default=128, help="of the crops to train on, in batches of 2"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--compile", action="store_true", help="compiled instead, which takes minutes to start"
    )
    parser.add_argument(
        "--photograph", action="store_true", help="12 megapixels instead, which take an hour"
    )
    arguments = parser.parse_args()
    if arguments.photograph:
        for lines in photograph_page(arguments.networks, *TWELVE_MEGAPIXELS):
            write_part(arguments.results, "peers' photograph", lines)
        return
    sides = arguments.sides, arguments.step_side
    wanted = [*tasks(*sides, compiled=arguments.compile)]
    table, shares, differences = [], [], []
    for network in arguments.networks:
        results, difference = compare(network, wanted, arguments.rounds)
        table += rows(network, results)
        shares += allocators(network, results)
        differences.append(f"{network} {difference:.0e}")
        part = "compiled" if arguments.compile else "peers"
        write_part(arguments.results, part, page(table, shares, differences, arguments.rounds))


if __name__ == "__main__":
    main()
