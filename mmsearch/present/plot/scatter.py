"""The points as a PNG, by matplotlib."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.present.figure import INK, MUTED, new_figure, plain_axes, plain_text, png
from mmsearch.present.plot.color import GREY, STOPS, Categories, Coloring, Scale, Shape
from mmsearch.present.plot.project import Projection
from mmsearch.records import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

_MARKERS = {Shape.CIRCLE: "o", Shape.SQUARE: "s", Shape.TRIANGLE: "^", Shape.DIAMOND: "D"}
_AREAS = {Shape.CIRCLE: 1.0, Shape.SQUARE: 0.8, Shape.TRIANGLE: 1.1, Shape.DIAMOND: 0.7}
"""What makes the shapes look equally large."""
_LEGEND_AREA = 40.0


def scatter_png(projection: Projection, coloring: Coloring, title: str, subtitle: str) -> bytes:
    """Draw the points.

    Raises:
        MMSearchError: matplotlib is not installed.
    """
    figure = new_figure(9.0, 7.0)
    axes = figure.add_subplot()
    plain_axes(axes)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.04)
    if isinstance(coloring, Scale):
        _draw_scale(axes, projection.points, coloring)
    else:
        _draw_categories(axes, projection.points, coloring)
    _label_axes(axes, projection)
    heading = axes.set_title("", loc="left", fontsize=13, fontweight="bold", color=INK, pad=24)
    plain_text(heading, title)
    under = axes.annotate(
        "", (0, 1), (0, 9), "axes fraction", "offset points", fontsize=9, color=MUTED
    )
    plain_text(under, subtitle)
    return png(figure)


def _area(count: int) -> float:
    """Square points of a marker: 5,000 points still leave room between them."""
    return float(np.clip(9_000 / count, 7, 45))


def _scatter(
    axes: "Axes",
    points: FloatArray,
    color: str | NDArray[np.float64],
    area: float,
    *,
    marker: str = "o",
    alpha: float = 0.8,
    zorder: float = 2.0,
) -> "PathCollection":
    return axes.scatter(
        points[:, 0],
        points[:, 1],
        s=area,
        c=color,
        marker=marker,
        alpha=alpha,
        zorder=zorder,
        linewidths=0.3,
        edgecolors="white",
    )


def _draw_categories(axes: "Axes", points: FloatArray, coloring: Categories) -> None:
    area = _area(len(points))
    drawn = [
        _scatter(
            axes,
            points[coloring.of == number],
            entry.color,
            area * _AREAS[entry.shape],
            marker=_MARKERS[entry.shape],
            zorder=2 + 1 / entry.count,  # few points are not to disappear below many
        )
        for number, entry in enumerate(coloring.entries)
    ]
    legend = axes.legend(
        drawn,
        ["?"] * len(drawn),  # matplotlib leaves out labels that begin with an underscore
        bbox_to_anchor=(1.01, 1),
        loc="upper left",
        borderaxespad=0,
        frameon=False,
        title="?",
        title_fontsize=9,
        fontsize=9,
        alignment="left",
        labelcolor=INK,
    )
    plain_text(legend.get_title(), coloring.title)
    for handle, text, entry in zip(
        legend.legend_handles, legend.get_texts(), coloring.entries, strict=True
    ):
        plain_text(text, f"{entry.label}  ({entry.count:,})")
        if handle is not None:
            handle.set(sizes=[_LEGEND_AREA * _AREAS[entry.shape]], alpha=1)


def _draw_scale(axes: "Axes", points: FloatArray, coloring: Scale) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    known, area = np.isfinite(coloring.values), _area(len(points))
    _scatter(axes, points[~known], GREY, area, alpha=0.5)
    drawn = _scatter(axes, points[known], coloring.values[known], area)
    drawn.set_cmap(LinearSegmentedColormap.from_list("stops", STOPS))
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.6, aspect=28, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=0)
    bar.locator = MaxNLocator(6)
    bar.set_label("?", fontsize=9, color=INK)
    plain_text(bar.ax.yaxis.label, coloring.title + ("" if known.all() else " (grey: none)"))


def _label_axes(axes: "Axes", projection: Projection) -> None:
    """Say what PCA's axes are; those of UMAP are nothing."""
    if projection.variance is None:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    first, second = projection.variance
    axes.set_xlabel(f"1st component, {first:.1%} of the variance", fontsize=9, color=MUTED)
    axes.set_ylabel(f"2nd component, {second:.1%} of the variance", fontsize=9, color=MUTED)
