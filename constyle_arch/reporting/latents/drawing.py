"""The picture of codes: a panel an encoder, a colour and a marker a group of images."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constyle_arch.reporting.figures import GRAY, add_legend, colors_of, empty_figure, frame
from constyle_arch.reporting.latents.collecting import Latents
from constyle_arch.reporting.latents.embedding import Embedding, embed
from constyle_arch.reporting.latents.scores import Separation, number, percent

PANEL = 5.2
"""Side of a panel, in inches."""

MARKERS = "^sDvPX<>p"


def draw(latents: Latents, measured: Mapping[str, Separation], method: str) -> Figure:
    """Draw codes as points by one of `embedding.METHODS`, with what was measured above them.

    Args:
        latents: the codes.
        measured: on them, by the encoder's name.
        method: how 128 numbers become two.
    """
    figure = empty_figure(PANEL * len(latents.codes), PANEL + 0.6)
    every_axes = figure.subplots(1, len(latents.codes), squeeze=False)[0]
    for axes, (name, codes) in zip(every_axes, latents.codes.items(), strict=True):
        one = measured[name]
        lines = (
            name,
            f"silhouette: degraded and clean {number(one.clean)}, types {number(one.types)}",
            f"nearest of same type {percent(one.neighbors)} (by chance {percent(one.chance)})",
        )
        frame(axes, "\n".join(lines))
        _scatter(axes, embed(codes, method), latents)
    handles, names = list(every_axes[0].collections), latents.groups
    columns = min(5, len(names))
    add_legend(figure, handles, names, ncols=columns, loc="outside lower center", frameon=False)
    return figure


def _scatter(axes: Axes, embedding: Embedding, latents: Latents) -> None:
    colors = [GRAY, *colors_of(len(latents.groups) - 1)]
    for label, color in enumerate(colors):
        points = embedding.points[latents.labels == label]
        marker = MARKERS[(label - 1) % len(MARKERS)] if label else "o"
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=34,
            marker=marker,
            facecolors=color if label else "none",
            edgecolors=color,
            alpha=0.8,
            linewidths=1,
        )
    axes.ticklabel_format(scilimits=(-3, 3))
    axes.set_xlabel(embedding.axes[0])
    axes.set_ylabel(embedding.axes[1])
