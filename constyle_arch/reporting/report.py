"""The table of a test: one row a benchmark, as Markdown, CSV and JSON."""

import csv
import io
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from constyle_arch.files import save_bytes_atomically
from constyle_arch.reporting import SIDE
from constyle_arch.reporting.scores import INPUT, Mean, Row, markdown_table, means_of


class Benchmark(BaseModel):
    """What a test measured on a data set."""

    images: int
    scores: dict[str, Mean]
    dataset: dict[str, Any] | None = None
    """Its options; None in files of earlier versions."""
    rows: list[Row] = Field(default=[], exclude=True)
    """Every image's scores, which `results.csv` holds, and `results.json` does not."""

    @classmethod
    def of(cls, rows: list[Row], dataset: dict[str, Any] | None = None) -> "Benchmark":
        """The means of some images' scores."""
        return cls(images=len(rows), scores=means_of(rows), dataset=dataset, rows=rows)


class Results(BaseModel):
    """What a test measured, written again after each benchmark."""

    name: str
    suffix: str | None = None
    """What the names of restored images end in; None in files of earlier versions."""
    network: str
    """The architecture's name."""
    weights: str
    """The checkpoint's path."""
    parameters: int
    gmacs: float | None
    """See `complexity.count_gmacs`; None where unknown."""
    gmacs_image_side: int = SIDE
    metrics: list[str]
    benchmarks: dict[str, Benchmark]

    def write(self, folder: Path) -> None:
        """Write `results.md` and `.json` (means) and `.csv` (every image) into `folder`.

        Raises:
            RunError: a file cannot be written.
        """
        json = self.model_dump_json(indent=1)
        for suffix, text in (("md", self.markdown()), ("json", json), ("csv", self.csv())):
            save_bytes_atomically(text.encode(), folder / f"results.{suffix}")

    def markdown(self) -> str:
        """A table: for each benchmark and metric the means of degraded and of restored images."""
        header = ["benchmark", "images"]
        for metric in self.metrics:
            header += [f"{metric} input", metric]
        header += ["parameters (M)", f"GMACs ({SIDE}²)"]
        gmacs = "–" if self.gmacs is None else f"{self.gmacs:.2f}"
        rows, remarks = [], []
        for name, benchmark in self.benchmarks.items():
            cells = [name, str(benchmark.images)]
            for metric in self.metrics:
                for column in (f"{INPUT}{metric}", metric):
                    mean = benchmark.scores[column]
                    cells.append(number(mean.value))
                    if remark := mean.remark():
                        remarks.append(f"\n{name}, {column}: {remark}.")
            rows.append([*cells, f"{self.parameters / 1e6:.3f}", gmacs])
        head = f"# {self.name}\n\n{self.network}, weights {self.weights}\n\n"
        end = "".join(remarks) + ("\n" if remarks else "")
        return f"{head}{markdown_table(header, rows)}\n{end}"

    def csv(self) -> str:
        """Every image's scores, and a row `mean` for each benchmark."""
        text = io.StringIO()
        columns = [column for metric in self.metrics for column in (f"{INPUT}{metric}", metric)]
        writer = csv.DictWriter(text, ["benchmark", "image", *columns], lineterminator="\n")
        writer.writeheader()
        for name, benchmark in self.benchmarks.items():
            means = {column: mean.value for column, mean in benchmark.scores.items()}
            rows = (*benchmark.rows, {"image": "mean", **means})
            writer.writerows({"benchmark": name, **row} for row in rows)
        return text.getvalue()


def number(value: float | None) -> str:
    """A score as tables show it."""
    return "–" if value is None else f"{value:.4f}"
