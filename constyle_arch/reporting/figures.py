"""Figures of matplotlib, drawn without a display and without its global state."""

import io
from pathlib import Path
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constyle_arch.files import save_bytes_atomically
from constyle_arch.reporting.figure_files import MARK, check_format

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of Okabe and Ito, which people of any colour vision tell apart; their yellow is too pale for
lines."""

GRAY = "#777777"

DOTS_PER_INCH = 130


def colors_of(count: int) -> list[Any]:
    """A colour for each of `count` things: `COLORS`, or for more a scale from dark to light."""
    if count <= len(COLORS):
        return list(COLORS[:count])
    return [colormaps["viridis"](position / count) for position in range(count)]


def empty_figure(width: float, height: float) -> Figure:
    """A white figure of this size, in inches, that makes room for what it holds."""
    return Figure(figsize=(width, height), layout="constrained")


def frame(axes: Axes, title: str) -> None:
    """Give a panel its title, whose characters are meant as they are, a pale grid and two sides."""
    axes.set_title(title, loc="left", fontsize="medium", parse_math=False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(owner: Figure | Axes, handles: list[Any], names: list[str], **options: Any) -> None:
    """A legend with names as they are: no formulas, and none hidden by an underscore."""
    legend = owner.legend(handles, [f"{number}" for number in range(len(names))], **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, as the name says; SVG keeps text as text.

    Raises:
        UserError: the name ends in another suffix, or the file cannot be written.
    """
    check_format(path)
    content = io.BytesIO()
    # nothing in it is drawn by chance
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "constyle-arch"}):
        svg = path.suffix.lower() == ".svg"
        metadata = {"Creator": MARK, "Date": None} if svg else {"Software": MARK}
        figure.savefig(
            content, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH, metadata=metadata
        )
    save_bytes_atomically(content.getvalue(), path)
