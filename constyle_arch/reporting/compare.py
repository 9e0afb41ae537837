"""Tables of several tests side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from constyle_arch.errors import DataError
from constyle_arch.reporting.complexity import SIDE
from constyle_arch.reporting.report import number
from constyle_arch.reporting.scores import INPUT, markdown_table

TOLERANCE = 1e-3
"""Inputs whose scores differ by more are not the same images."""

COLUMNS = ["test", "network", "parameters (M)", f"GMACs ({SIDE}²)"]
"""Of the first table."""


@dataclass(frozen=True)
class Test:
    """What `results.json` says of a test.

    Args:
        name: of the test.
        network: the architecture's name.
        parameters: of the network.
        gmacs: for an image of `complexity.SIDE` pixels; None where unknown.
        images: how many each benchmark has.
        scores: the mean of each benchmark and column; None where there is none.
    """

    name: str
    network: str
    parameters: int
    gmacs: float | None
    images: dict[str, int]
    scores: dict[str, dict[str, float | None]]


def check_tables(path: Path) -> None:
    """Check that a file to write is not there, or holds tables of `compare`.

    Raises:
        DataError: it holds something else.
    """
    if not path.exists():
        return
    first = path.read_bytes().partition(b"\n")[0].decode(errors="replace") if path.is_file() else ""
    if [cell.strip() for cell in first.split("|")][1:-1] != COLUMNS:
        raise DataError(f"-o: {path} is there and holds no tables of this command; choose another name.")


def compare(paths: Sequence[str]) -> str:
    """Several tests in Markdown: their sizes, then a table for each metric, with the differences from the first test.

    Args:
        paths: results folders, or `results.json` files in them.

    Raises:
        DataError: a path holds no results, or no metric is in all of them.
    """
    tests = [_read(path) for path in paths]
    names = [test.name for test in tests]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    metrics = [metric for metric in _metrics(tests[0]) if all(metric in _metrics(test) for test in tests)]
    if not metrics:
        raise DataError("The results have no metric in common: " + ", ".join(map(str, paths)) + ".")
    sizes = [
        [name, test.network, f"{test.parameters / 1e6:.3f}", "–" if test.gmacs is None else f"{test.gmacs:.2f}"]
        for name, test in zip(names, tests, strict=True)
    ]
    tables = [markdown_table(COLUMNS, sizes)]
    benchmarks = list(dict.fromkeys(benchmark for test in tests for benchmark in test.images))
    for metric in metrics:
        rows = [_row(benchmark, metric, tests) for benchmark in benchmarks]
        tables.append(f"{metric}\n\n{markdown_table(['benchmark', 'input', *names], rows)}")
    different = [benchmark for benchmark in benchmarks if not _same_images(benchmark, metrics, tests)]
    remarks = [f"{name} was not measured on the same images; its scores do not compare." for name in different]
    return "\n\n".join([*tables, *remarks]) + "\n"


def _metrics(test: Test) -> list[str]:
    columns = next(iter(test.scores.values()), {})
    return [column for column in columns if f"{INPUT}{column}" in columns]


def _row(benchmark: str, metric: str, tests: Sequence[Test]) -> list[str]:
    values = [test.scores.get(benchmark, {}).get(metric) for test in tests]
    inputs = [test.scores[benchmark][f"{INPUT}{metric}"] for test in tests if benchmark in test.scores]
    cells = [benchmark, number(inputs[0]), number(values[0])]
    for value in values[1:]:
        difference = "" if value is None or values[0] is None else f" ({value - values[0]:+.4f})"
        cells.append(f"{number(value)}{difference}")
    return cells


def _same_images(benchmark: str, metrics: Sequence[str], tests: Sequence[Test]) -> bool:
    """Whether as many images were measured, and degraded ones of the same scores."""
    tests = [test for test in tests if benchmark in test.images]
    inputs = [[test.scores[benchmark][f"{INPUT}{metric}"] or 0 for metric in metrics] for test in tests]
    close = all(abs(one - first) <= TOLERANCE for other in inputs for one, first in zip(other, inputs[0], strict=True))
    return close and len({test.images[benchmark] for test in tests}) == 1


def _read(path: str) -> Test:
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        same_side = content["gmacs_image_side"] == SIDE
        return Test(
            name=str(content["name"]),
            network=str(content["network"]),
            parameters=int(content["parameters"]),
            gmacs=float(content["gmacs"]) if content["gmacs"] is not None and same_side else None,
            images={name: int(one["images"]) for name, one in content["benchmarks"].items()},
            scores={
                name: {
                    column: None if mean["value"] is None else float(mean["value"])
                    for column, mean in one["scores"].items()
                }
                for name, one in content["benchmarks"].items()
            },
        )
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; `basicsr test` writes it into results/NAME.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} holds no results of `basicsr test`: {error!r}.") from error
