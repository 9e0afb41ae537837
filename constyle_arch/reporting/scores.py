"""Scores of the images of a data set, and their means."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INPUT = "input_"
"""What the name of a metric begins with where the degraded image was measured."""

Row = Mapping[str, Any]
"""An image's scores: `image` its name, `<metric>` the restored image's score, `input_<metric>` the
degraded one's.

A restored image that holds NaN or infinite numbers has no score: None.
"""


@dataclass(frozen=True)
class Mean:
    """The mean of the finite scores among `count`, and how many were not.

    Args:
        value: the mean; None where no score is finite.
        count: how many scores there are.
        infinite: how many are infinite: PSNR where two images are equal.
        undefined: how many are no number: SSIM of images smaller than its window.
        not_finite: how many restored images hold NaN or infinite numbers, and so have no score.
    """

    value: float | None
    count: int
    infinite: int = 0
    undefined: int = 0
    not_finite: int = 0

    @classmethod
    def of(cls, scores: Iterable[float | None]) -> "Mean":
        """The mean of some scores, None for an image that has none."""
        images = list(scores)
        every = [score for score in images if score is not None]
        finite = [score for score in every if math.isfinite(score)]
        return cls(
            value=sum(finite) / len(finite) if finite else None,
            count=len(images),
            infinite=sum(map(math.isinf, every)),
            undefined=sum(map(math.isnan, every)),
            not_finite=len(images) - len(every),
        )

    def __float__(self) -> float:
        """The mean, or not a number where there is none."""
        return math.nan if self.value is None else self.value

    def remark(self) -> str:
        """What is not in the mean, in words; empty where everything is."""
        reasons = {
            "infinite (equal images)": self.infinite,
            "undefined (images too small)": self.undefined,
            "restored to NaN or infinite numbers": self.not_finite,
        }
        parts = [f"{count} {reason}" for reason, count in reasons.items() if count]
        return f"{' and '.join(parts)} of {self.count} not averaged" if parts else ""


def means_of(rows: Sequence[Row]) -> dict[str, Mean]:
    """The mean of each column but the images' names."""
    columns = [column for column in rows[0] if column != "image"]
    return {column: Mean.of(row[column] for row in rows) for column in columns}


def text_table(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Scores as text: a line an image, with the input's score, the restored one's and the gain."""
    width = max(len(str(row["image"])) for row in rows)
    header = " ".join(f"{metric + ' input':>14} {'restored':>10} {'gain':>8}" for metric in metrics)
    lines = [f"{'image':<{width}} {header}"]
    for row in rows:
        scores = {column: math.nan if score is None else score for column, score in row.items()}
        pairs = [(scores[f"{INPUT}{metric}"], scores[metric]) for metric in metrics]
        cells = " ".join(
            f"{before:>14.4f} {after:>10.4f} {after - before:>+8.4f}" for before, after in pairs
        )
        lines.append(f"{row['image']:<{width}} {cells}")
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    rule = "|".join(
        "-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)
    )
    first, *others = (f"| {line} |" for line in lines)
    return "\n".join([first, f"|{rule}|", *others])
