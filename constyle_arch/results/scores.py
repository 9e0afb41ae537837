"""Scores of the images of a data set, and their means."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

INPUT = "input_"
"""What the name of a metric begins with where the degraded image was measured."""

Row = Mapping[str, str | float]
"""An image's scores: `image` its name, `<metric>` the restored image's score, `input_<metric>` the degraded one's."""


@dataclass(frozen=True)
class Mean:
    """The mean of the finite scores among `count`, and how many were not.

    Args:
        value: the mean; None where no score is finite.
        count: how many scores there are.
        infinite: how many are infinite: PSNR where two images are equal.
        undefined: how many are no number: SSIM of images smaller than its window.
    """

    value: float | None
    count: int
    infinite: int = 0
    undefined: int = 0

    @classmethod
    def of(cls, scores: Iterable[float]) -> "Mean":
        """The mean of some scores."""
        every = list(scores)
        finite = [score for score in every if math.isfinite(score)]
        return cls(
            value=sum(finite) / len(finite) if finite else None,
            count=len(every),
            infinite=sum(map(math.isinf, every)),
            undefined=sum(map(math.isnan, every)),
        )

    def __float__(self) -> float:
        """The mean, or not a number where there is none."""
        return math.nan if self.value is None else self.value

    def remark(self) -> str:
        """What is not in the mean, in words; empty where everything is."""
        parts = [f"{self.infinite} infinite (equal images)"] if self.infinite else []
        parts += [f"{self.undefined} undefined (images too small)"] if self.undefined else []
        return f"{' and '.join(parts)} of {self.count} not averaged" if parts else ""


def means_of(rows: Sequence[Row]) -> dict[str, Mean]:
    """The mean of each column but the images' names."""
    columns = [column for column in rows[0] if column != "image"]
    return {column: Mean.of(float(row[column]) for row in rows) for column in columns}


def text_table(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Scores as text: a line for each image, and for each metric the input's, the restored one's and the gain."""
    width = max(len(str(row["image"])) for row in rows)
    header = " ".join(f"{metric + ' input':>14} {'restored':>10} {'gain':>8}" for metric in metrics)
    lines = [f"{'image':<{width}} {header}"]
    for row in rows:
        pairs = [(float(row[f"{INPUT}{metric}"]), float(row[metric])) for metric in metrics]
        cells = " ".join(f"{before:>14.4f} {after:>10.4f} {after - before:>+8.4f}" for before, after in pairs)
        lines.append(f"{row['image']:<{width}} {cells}")
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(_justified(row, widths)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _justified(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
