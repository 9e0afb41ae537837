"""The curves of training runs in one picture: a panel for each quantity, a colour for each run."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from constyle_arch.reporting.figures import GRAY, add_legend, colors_of, empty_figure, frame
from constyle_arch.reporting.training_log import Curve, TrainingLog

COLUMNS = 3
PANEL = 4.4, 2.7
"""Width and height of a panel, in inches."""

MEANS = 100
"""Of curves with twice as many points, the means of so many stretches are drawn over the points."""

MARKED = 40
"""Curves of up to so many points show each of them."""

RASTERIZED = 2000
"""Points of longer curves are pixels in an SVG too, which would be large otherwise."""

TITLES = {
    "l_pix": "pixel loss",
    "l_percep": "perceptual loss",
    "l_percep_style": "style loss of the images",
    "l_contrastive": "InfoNCE; dotted: log(K + 1)",
    "l_content": "content loss",
    "l_style": "style loss",
    "contrast_acc": "share nearer to clean than to queue",
    "cos_positive": "mean cosine; dashed: cos_negatives",
    "code_norm": "mean length of the codes",
    "code_std": "deviation of the codes in a batch",
    "grad_norm": "norm of the gradient",
}
UNITS = {"psnr": "dB"}

NEAR_ZERO_MATTERS = ("l_", "code_", "grad_norm")
"""Quantities whose names begin so are drawn on a logarithmic scale where their values ask for
it."""

SHARES = {"contrast_acc"}
"""Quantities from 0 to 1, drawn in that range."""

DASHED = {"cos_positive": "cos_negatives"}
"""What is drawn dashed in the panel of another quantity."""


@dataclass(frozen=True)
class _Panel:
    """A quantity of all runs.

    Args:
        title: above the panel.
        curves: by run.
        dashed: curves to compare with, by run.
        levels: by run a value that means something.
        logarithmic: whether a logarithmic scale is welcome.
        is_share: whether the values lie between 0 and 1.
        better: 1 where higher is better, −1 where lower is; 0 marks no best value.
    """

    title: str
    curves: dict[str, Curve]
    dashed: dict[str, Curve] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    logarithmic: bool = False
    is_share: bool = False
    better: int = 0


def draw(logs: Mapping[str, TrainingLog]) -> Figure:
    """Draw validations, losses, the contrast's health and the learning rate of runs, by name."""
    panels = list(_panels(logs))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = empty_figure(columns * PANEL[0], rows * PANEL[1] + 0.4)
    every_axes = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    colors = dict(zip(logs, colors_of(len(logs)), strict=True))
    for panel, axes in zip(panels, every_axes, strict=False):
        _draw_panel(panel, axes, colors)
    for axes in every_axes[len(panels) :]:
        axes.remove()
    for axes in every_axes[len(panels) - columns : len(panels)]:
        axes.set_xlabel("iteration")
        axes.tick_params(labelbottom=True)
    handles: list[Any] = [Line2D([], [], color=color, linewidth=2.5) for color in colors.values()]
    names = list(colors)
    curves = (curve for panel in panels for curve in panel.curves.values())
    if not all(math.isfinite(value) for curve in curves for value in curve.values()):
        handles.append(Line2D([], [], color=GRAY, marker="x", linestyle="none"))
        names.append("not finite")
    add_legend(
        figure, handles, names, loc="outside upper center", ncols=min(4, len(names)), frameon=False
    )
    return figure


def _panels(logs: Mapping[str, TrainingLog]) -> Iterator[_Panel]:
    for dataset in _union(log.metrics for log in logs.values()):
        scores = {name: log.metrics.get(dataset, {}) for name, log in logs.items()}
        for metric in _union(scores.values()):
            unit = f" ({UNITS[metric]})" if metric in UNITS else ""
            option = f"val.metrics.{metric}.better"
            lower = any(log.options.get(option) == "lower" for log in logs.values())
            curves = {name: of_run[metric] for name, of_run in scores.items() if metric in of_run}
            yield _Panel(f"{metric}{unit}, {dataset}", curves, better=-1 if lower else 1)
    for quantity in sorted(_union(log.values for log in logs.values()), key=_rank):
        if quantity not in DASHED.values():
            title = f"{quantity}: {TITLES[quantity]}" if quantity in TITLES else quantity
            curves = {
                name: log.values[quantity] for name, log in logs.items() if quantity in log.values
            }
            dashed = {name: logs[name].values.get(DASHED.get(quantity, ""), {}) for name in curves}
            contrasted = curves if quantity == "l_contrastive" else ()
            levels = {name: _collapsed(logs[name]) for name in contrasted}
            logarithmic = quantity.startswith(NEAR_ZERO_MATTERS)
            yield _Panel(title, curves, dashed, levels, logarithmic, is_share=quantity in SHARES)
    rates = {name: log.learning_rate for name, log in logs.items()}
    yield _Panel("learning rate", rates, logarithmic=True)


def _union(keys: Any) -> list[str]:
    """What is in any of some mappings, in the order of its first appearance."""
    return list(dict.fromkeys(key for one in keys for key in one))


def _rank(quantity: str) -> int:
    """Losses come first, then what `TITLES` lists in its order, then the rest."""
    known = list(TITLES)
    if quantity in known:
        return known.index(quantity)
    return 0 if quantity.startswith("l_") else len(known)


def _collapsed(log: TrainingLog) -> float:
    """InfoNCE of codes that tell nothing: each of the K + 1 candidates is as likely."""
    return math.log(int(log.options.get("train.contrast.queue_size", 0)) + 1)


def _draw_panel(panel: _Panel, axes: Axes, colors: Mapping[str, Any]) -> None:
    frame(axes, panel.title)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if panel.logarithmic and _spans_decades(panel.curves):
        axes.set_yscale("log")
    if panel.is_share:
        axes.set_ylim(-0.03, 1.03)
    for name, curve in panel.curves.items():
        _draw_curve(axes, curve, colors[name], "-")
        if panel.dashed.get(name):
            _draw_curve(axes, panel.dashed[name], colors[name], "--")
        if panel.levels.get(name):
            axes.axhline(panel.levels[name], color=colors[name], linestyle=":", linewidth=1)
    if panel.better:
        _mark_best(panel, axes, colors)


def _spans_decades(curves: Mapping[str, Curve]) -> bool:
    """Whether all values that are finite are above 0, and some ten times others."""
    values = (value for curve in curves.values() for value in curve.values())
    finite = list(filter(math.isfinite, values))
    return bool(finite) and min(finite) > 0 and max(finite) > 10 * min(finite)


def _draw_curve(axes: Axes, curve: Curve, color: Any, style: str) -> None:
    iterations, values = np.array(list(curve)), np.array(list(curve.values()))
    finite = np.isfinite(values)
    is_long = len(curve) >= 2 * MEANS
    axes.plot(
        iterations,
        np.where(finite, values, np.nan),
        style,
        color=color,
        alpha=0.25 if is_long else 1,
        linewidth=0.8 if is_long else 1.4,
        marker="o" if len(curve) <= MARKED else "",
        markersize=2.5,
        rasterized=len(curve) > RASTERIZED,
    )
    if is_long and finite.any():
        stretches = np.array_split(np.flatnonzero(finite), MEANS)
        means = np.array(
            [(iterations[one].mean(), values[one].mean()) for one in stretches if len(one)]
        )
        axes.plot(*means.T, style, color=color, linewidth=1.4)
    if not finite.all():
        spoilt, bottom = iterations[~finite], axes.get_xaxis_transform()
        places = spoilt, np.zeros(len(spoilt))
        axes.plot(*places, "x", color=color, markersize=5, transform=bottom, clip_on=False)


def _mark_best(panel: _Panel, axes: Axes, colors: Mapping[str, Any]) -> None:
    """Mark each run's best score with a star and its value; of equals the newest, as in BasicSR."""
    stars, texts = [], []
    for name, curve in panel.curves.items():
        finite = [iteration for iteration, value in curve.items() if math.isfinite(value)]
        if finite:
            best = max(finite, key=lambda iteration: (panel.better * curve[iteration], iteration))
            stars += axes.plot(
                best, curve[best], "*", color=colors[name], markersize=11, markeredgecolor="white"
            )
            texts.append(f"{curve[best]:.4g} at {best:,}")
    if stars:
        add_legend(
            axes, stars, texts, title="best", fontsize="small", title_fontsize="small", loc="best"
        )
