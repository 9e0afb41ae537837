"""Tables of several tests side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from constyle_arch.errors import DataError
from constyle_arch.results.report import number
from constyle_arch.results.scores import markdown_table


def compare(paths: Sequence[str]) -> str:
    """Several tests in Markdown: their sizes, then a table for each metric, with the differences from the first test.

    Args:
        paths: results folders, or `results.json` files in them.

    Raises:
        DataError: a path holds no results, or no metric is in all of them.
    """
    results = [_read(path) for path in paths]
    names = _labels(results, paths)
    metrics = [metric for metric in results[0]["metrics"] if all(metric in result["metrics"] for result in results)]
    if not metrics:
        raise DataError("The results have no metric in common: " + ", ".join(map(str, paths)) + ".")
    sizes = [
        [name, result["network"], f"{result['parameters'] / 1e6:.3f}", _gmacs(result)]
        for name, result in zip(names, results, strict=True)
    ]
    side = results[0]["gmacs_image_side"]
    tables = [markdown_table(["test", "network", "parameters (M)", f"GMACs ({side}²)"], sizes)]
    benchmarks = list(dict.fromkeys(benchmark for result in results for benchmark in result["benchmarks"]))
    for metric in metrics:
        rows = [_row(benchmark, metric, results) for benchmark in benchmarks]
        tables.append(f"{metric}\n\n{markdown_table(['benchmark', 'input', *names], rows)}")
    different = [benchmark for benchmark in benchmarks if len(_numbers_of_images(benchmark, results)) > 1]
    remarks = [f"{name} was measured on different numbers of images; its scores do not compare." for name in different]
    return "\n\n".join([*tables, *remarks]) + "\n"


def _row(benchmark: str, metric: str, results: Sequence[dict[str, Any]]) -> list[str]:
    found = [result["benchmarks"].get(benchmark) for result in results]
    values = [one["scores"][metric]["value"] if one else None for one in found]
    inputs = [one["scores"][f"input_{metric}"]["value"] for one in found if one]
    cells = [benchmark, number(inputs[0]), number(values[0])]
    for value in values[1:]:
        difference = "" if value is None or values[0] is None else f" ({value - values[0]:+.4f})"
        cells.append(f"{number(value)}{difference}")
    return cells


def _numbers_of_images(benchmark: str, results: Sequence[dict[str, Any]]) -> set[int]:
    return {result["benchmarks"][benchmark]["images"] for result in results if benchmark in result["benchmarks"]}


def _labels(results: Sequence[dict[str, Any]], paths: Sequence[str]) -> list[str]:
    """The tests' names, or their paths where two have one name."""
    names = [str(result["name"]) for result in results]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _gmacs(result: dict[str, Any]) -> str:
    return "–" if result["gmacs"] is None else f"{result['gmacs']:.2f}"


def _read(path: str) -> dict[str, Any]:
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        result["name"], result["network"], result["parameters"], result["gmacs"], result["gmacs_image_side"]
        for benchmark in result["benchmarks"].values():
            for metric in result["metrics"]:
                benchmark["images"], benchmark["scores"][metric]["value"], benchmark["scores"][f"input_{metric}"]
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; `basicsr test` writes it into results/NAME.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} holds no results of `basicsr test`: {error!r}.") from error
    return dict(result)
