"""The curves of a training as a PNG: a panel for each figure in its ``metrics.csv``."""

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import MMSearchError, UsageError, one_line
from mmsearch.present.figure import INK, LINE, MUTED, new_figure, plain_axes, plain_text, png
from mmsearch.present.standalone import check_target, write_whole
from mmsearch.train.journal import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""The steps and values of one figure, (n,) each."""

TRAINING = "training"
"""The folder of a model that its training keeps its metrics in."""

_HEADER = ["step", "figure", "value"]
_MOST_COLUMNS = 3
_COLOR = "#0072b2"
_SMOOTHED_SHARE = 0.02
"""Share of its points that the running mean of a loss goes over."""


def plot_training(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Draw the curves of a training.

    Args:
        folder: A model's, or where its training keeps ``metrics.csv``; it may still run.
        out: A ``.png``; replaced if it exists.

    Raises:
        UsageError: There are no metrics there, or ``out`` is no PNG.
        MMSearchError: The metrics cannot be read, matplotlib is not installed, or the file cannot
            be written.
    """
    target, home = Path(out), Path(folder)
    check_target(target, (".png",))
    if (home / TRAINING / METRICS).is_file():
        home = home / TRAINING
    whole = home.resolve()
    title = whole.parent.name if whole.name == TRAINING else whole.name
    write_whole(target, _draw(_read(home / METRICS), one_line(title)))


def _read(path: Path) -> Mapping[str, Series]:
    """Return the series by figure, in the order of their first appearance."""
    rows: dict[str, list[tuple[int, float]]] = {}
    name = one_line(str(path))
    if not path.is_file():
        raise UsageError(f"{name}: there is no such file; name the folder of a training")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            if next(lines, None) != _HEADER:
                raise MMSearchError(f"{name}: does not begin with {','.join(_HEADER)}")
            for step, figure, value in lines:
                rows.setdefault(figure, []).append((int(step), float(value)))
    except (ValueError, csv.Error) as error:
        at = f"{name}: line {lines.line_num}"
        raise MMSearchError(f"{at}: not a step, a figure and a value ({error})") from None
    if not rows:
        raise UsageError(f"{name}: holds no figures yet")
    return {
        figure: (np.array([s for s, _ in pairs]), np.array([v for _, v in pairs]))
        for figure, pairs in rows.items()
    }


def _draw(series: Mapping[str, Series], title: str) -> bytes:
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(len(series))))
    rows = -(-len(series) // columns)
    figure = new_figure(4.2 * columns, 0.6 + 2.8 * rows)
    plain_text(figure.suptitle("", x=0.01, ha="left", fontsize=13, fontweight="bold"), title)
    last = 1.01 * max(1, *(steps[-1] for steps, _ in series.values()))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, (steps, values)) in zip(panels, series.items(), strict=False):
        _panel(panel, name, steps, values)
        panel.set_xlim(0, last)
    for panel in panels[len(series) :]:
        panel.set_axis_off()
    return png(figure)


def _panel(axes: "Axes", name: str, steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    plain_axes(axes)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    shown = values
    if "loss" in name:  # each step's own batch decides it: only the mean shows where it goes
        axes.plot(steps, values, color=_COLOR, alpha=0.25, linewidth=0.6)
        shown = _running_mean(values)
    marker = "o" if len(steps) <= 60 else ""
    axes.plot(steps, shown, color=_COLOR, linewidth=1.6, marker=marker, markersize=3)
    axes.set_xlabel("step", fontsize=8, color=MUTED)
    plain_text(axes.set_title("", loc="left", fontsize=10, color=INK), one_line(name))
    axes.set_title(f"{shown[-1]:.4g}", loc="right", fontsize=10, color=MUTED)


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value's mean with its neighbours; at both ends with those that there are."""
    reach = int(len(values) * _SMOOTHED_SHARE / 2)
    sums = np.cumsum([0.0, *values])
    places = np.arange(len(values))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means
