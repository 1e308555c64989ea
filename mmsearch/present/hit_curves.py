"""An evaluation as a PNG: hit_at_k for all k, with intervals, beside that of another run."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.engine.evaluation import DirectionEvaluation, Evaluation, Figures
from mmsearch.errors import one_line
from mmsearch.metrics import Measure, mean_estimates
from mmsearch.present.figure import INK, LINE, MUTED, new_figure, plain_axes, plain_text, png
from mmsearch.present.standalone import check_target, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_COLORS = ("#0072b2", "#d55e00")
"""Of this run and of the one that it is compared with: Okabe and Ito's, for all kinds of eyes."""
_MOST_COLUMNS = 3
_MOST_POINTS = 100
_TICKS = (1, 2, 5)


def plot_evaluation(evaluation: Evaluation, out: str | os.PathLike[str]) -> None:
    """Draw hit_at_k for k from 1 to the depth, with 95 % intervals, a panel for each direction.

    Args:
        evaluation: What :func:`mmsearch.evaluate` returns.
        out: A ``.png``; replaced if it exists.

    Raises:
        UsageError: ``out`` is no PNG.
        MMSearchError: matplotlib is not installed, or the file cannot be written.
    """
    check_plot(out)
    write_whole(out, _draw(evaluation))


def check_plot(out: str | os.PathLike[str]) -> None:
    """Refuse what :func:`plot_evaluation` would refuse, before there is anything to draw."""
    check_target(Path(out), (".png",))
    new_figure(1, 1)


def _draw(evaluation: Evaluation) -> bytes:
    panels = evaluation.directions
    columns = min(_MOST_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(max(5.6, 4.2 * columns), 0.6 + 3.4 * rows)
    places = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, direction in zip(places, panels, strict=False):
        lines = _panel(axes, direction, evaluation.k)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    names = [evaluation.index, *([evaluation.against] if evaluation.against else [])]
    legend = figure.legend(lines, names, loc="outside upper left", ncols=2, frameon=False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        plain_text(text, one_line(name))
    return png(figure)


def _panel(axes: "Axes", direction: DirectionEvaluation, k: int) -> "list[Line2D]":
    """Draw a direction; returns the lines of this run and of the other."""
    plain_axes(axes)
    axes.grid(color=LINE, linewidth=0.6)
    settings = [direction.figures, *([direction.against.figures] if direction.against else [])]
    lines = [_curve(axes, *each, k) for each in zip(settings, _COLORS, strict=False)]
    axes.set_xscale("log")
    ticks = [n * 10**power for power in range(6) for n in _TICKS if n * 10**power <= k]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlim=(1, k), ylim=(0, 1))
    axes.set_xlabel("k", fontsize=8, color=MUTED)
    axes.set_ylabel("hit_at_k", fontsize=8, color=MUTED)
    axes.set_title(direction.direction, loc="left", fontsize=10, color=INK)
    axes.set_title(f"{len(direction.queries):,} queries", loc="right", fontsize=8, color=MUTED)
    return lines


def _curve(axes: "Axes", figures: Figures, color: str, k: int) -> "Line2D":
    """Draw a curve, and its intervals as a band around it."""
    depths = np.unique(np.geomspace(1, k, _MOST_POINTS).round())
    ranks = figures.values[Measure.MEDIAN_RANK]
    points = mean_estimates((ranks[:, None] <= depths).astype(np.float64))
    low, high = [point.low for point in points], [point.high for point in points]
    axes.fill_between(depths, low, high, color=color, alpha=0.2, linewidth=0)
    return axes.plot(depths, [point.value for point in points], color=color, linewidth=1.6)[0]
