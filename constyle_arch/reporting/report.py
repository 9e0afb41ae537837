"""The table of a test: one row a benchmark, as Markdown, CSV and JSON."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from constyle_arch.files import save_bytes_atomically
from constyle_arch.reporting import SIDE
from constyle_arch.reporting.scores import INPUT, Mean, Row, markdown_table, means_of


class Benchmark(BaseModel):
    """What `results.json` holds of a data set."""

    images: int
    scores: dict[str, Mean]
    dataset: dict[str, Any] | None = None
    """Its options; None in files of earlier versions."""


class Results(BaseModel):
    """What `results.json` holds of a test."""

    name: str
    suffix: str | None = None
    """What the names of restored images end in; None in files of earlier versions."""
    network: str
    weights: str
    parameters: int
    gmacs: float | None
    gmacs_image_side: int = SIDE
    metrics: list[str]
    benchmarks: dict[str, Benchmark]


@dataclass
class Report:
    """What a test measures, written again after each benchmark.

    Args:
        name: of the test.
        network: the architecture's name.
        weights: the checkpoint's path.
        parameters: of the network.
        gmacs: see `complexity.count_gmacs`; None where unknown.
        metrics: their names.
        benchmarks: the scores of each one's images, by its name.
        datasets: the benchmarks' options.
        suffix: what the names of restored images end in.
    """

    name: str
    network: str
    weights: str
    parameters: int
    gmacs: float | None
    metrics: Sequence[str]
    benchmarks: dict[str, list[Row]] = field(default_factory=dict)
    datasets: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""

    def write(self, folder: Path) -> None:
        """Write `results.md` and `.json` (means) and `.csv` (every image) into `folder`.

        Raises:
            RunError: a file cannot be written.
        """
        for suffix, text in (("md", self.markdown()), ("json", self.json()), ("csv", self.csv())):
            save_bytes_atomically(text.encode(), folder / f"results.{suffix}")

    def markdown(self) -> str:
        """A table: for each benchmark and metric the means of degraded and of restored images."""
        header = ["benchmark", "images"]
        for metric in self.metrics:
            header += [f"{metric} input", metric]
        header += ["parameters (M)", f"GMACs ({SIDE}²)"]
        gmacs = "–" if self.gmacs is None else f"{self.gmacs:.2f}"
        rows, remarks = [], []
        for benchmark, scores in self.benchmarks.items():
            means = means_of(scores)
            cells = [benchmark, str(len(scores))]
            for metric in self.metrics:
                for column in (f"{INPUT}{metric}", metric):
                    cells.append(number(means[column].value))
                    if means[column].remark():
                        remarks.append(f"{benchmark}, {column}: {means[column].remark()}.")
            rows.append([*cells, f"{self.parameters / 1e6:.3f}", gmacs])
        text = (
            f"# {self.name}\n\n{self.network}, weights "
            f"{self.weights}\n\n{markdown_table(header, rows)}\n"
        )
        return text + "".join(f"\n{remark}" for remark in remarks) + ("\n" if remarks else "")

    def json(self) -> str:
        """The means, and what is not in them, for programs."""
        benchmarks = {
            name: Benchmark(
                images=len(scores), scores=means_of(scores), dataset=self.datasets.get(name)
            )
            for name, scores in self.benchmarks.items()
        }
        return Results(**{**vars(self), "benchmarks": benchmarks}).model_dump_json(indent=1)

    def csv(self) -> str:
        """Every image's scores, and a row `mean` for each benchmark."""
        text = io.StringIO()
        columns = [column for metric in self.metrics for column in (f"{INPUT}{metric}", metric)]
        writer = csv.DictWriter(text, ["benchmark", "image", *columns], lineterminator="\n")
        writer.writeheader()
        for benchmark, scores in self.benchmarks.items():
            means = {column: mean.value for column, mean in means_of(scores).items()}
            writer.writerows(
                {"benchmark": benchmark, **row} for row in (*scores, {"image": "mean", **means})
            )
        return text.getvalue()


def number(value: float | None) -> str:
    """A score as tables show it."""
    return "–" if value is None else f"{value:.4f}"
