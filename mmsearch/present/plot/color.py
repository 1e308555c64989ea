"""What a point's colour means: its modality, one of a column's values, or a column's number.

Categories differ in colour and in shape, so that nobody needs to tell twelve colours apart.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.chunks import EmbeddedChunk
from mmsearch.errors import UsageError, one_line
from mmsearch.present.cards import in_words
from mmsearch.present.words import shorten
from mmsearch.records import ColumnValue, Modality

MODALITY = "modality"
MOST_CATEGORIES = 12
"""Four shapes times six colours, taken in step, repeat after 12."""
GREY = "#8c8c8c"
# Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008) without black, grey and yellow, which
# are hard to see on one of the two backgrounds.
_COLORS = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
STOPS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30")
"""Viridis (van der Walt and Smith 2015) at equal steps, without its palest eighth."""
_LABEL_CHARS = 32
_HUGE = 1e300


class Shape(StrEnum):
    """How a point is drawn."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    DIAMOND = "diamond"


@dataclass(frozen=True, slots=True)
class Category:
    """One entry of the legend."""

    label: str
    color: str
    shape: Shape
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Categories:
    """Points by category.

    Attributes:
        title: What the categories are values of.
        entries: The legend.
        of: (n,) int64, each point's entry.
    """

    title: str
    entries: tuple[Category, ...]
    of: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Points by number.

    Attributes:
        title: What the number is.
        values: (n,) float64; NaN where there is none.
        low: The smallest value.
        high: The largest.
    """

    title: str
    values: NDArray[np.float64]
    low: float
    high: float

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each value's place between the smallest and the largest, 0 to 1; NaN where none is."""
        shares: NDArray[np.float64] = (self.values - self.low) / ((self.high - self.low) or 1.0)
        return shares


Coloring: TypeAlias = Categories | Scale


def color_by(chunks: Sequence[EmbeddedChunk], color: str) -> Coloring:
    """Return what the points' colours mean.

    Args:
        chunks: The points.
        color: ``modality``, or a column. A column of nothing but numbers becomes a scale, any
            other becomes categories, the rarest of which are taken together.

    Raises:
        UsageError: None of the points has that column.
    """
    if color == MODALITY:
        labels = [str(chunk.part.modality) for chunk in chunks]
        return _categories(MODALITY, labels, [str(modality) for modality in Modality])
    if not any(color in chunk.item.columns for chunk in chunks):
        raise _no_column(chunks, color)
    values = [chunk.item.columns.get(color) for chunk in chunks]
    title = shorten(color, _LABEL_CHARS)
    numbers = _numbers(values)
    if numbers is not None:
        return Scale(title, numbers, float(np.nanmin(numbers)), float(np.nanmax(numbers)))
    words = ["" if value is None else in_words(value) for value in values]
    common = sorted(Counter(filter(None, words)).items(), key=lambda pair: (-pair[1], pair[0]))
    return _categories(title, words, [label for label, _ in common])


def _numbers(values: Sequence[ColumnValue]) -> NDArray[np.float64] | None:
    """Return a column as (n,) float64, NaN where it says nothing; None if it holds no numbers."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in present):
        return None
    numbers = np.array([_number(value) for value in values], np.float64)
    return numbers if np.isfinite(numbers).any() else None


def _number(value: ColumnValue) -> float:
    """A number whose differences are numbers, too, however large it is in the file."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan
    return number if abs(number) < _HUGE else math.nan


def _categories(title: str, labels: Sequence[str], order: Sequence[str]) -> Categories:
    """Number the labels: in the order given, then those that share one entry, then none."""
    kept = order if len(order) <= MOST_CATEGORIES else order[: MOST_CATEGORIES - 1]
    number = {label: place for place, label in enumerate(kept)}
    rest, none = len(kept), len(kept) + 1
    of = np.array([number.get(label, rest if label else none) for label in labels], np.int64)
    counts = np.bincount(of, minlength=none + 1)
    entries = [
        Category(
            shorten(label, _LABEL_CHARS),
            _COLORS[n % len(_COLORS)],
            list(Shape)[n % len(Shape)],
            int(counts[n]),
        )
        for n, label in enumerate(kept)
    ]
    other = f"{len(order) - len(kept):,} others"
    entries.append(Category(other, GREY, Shape.CIRCLE, int(counts[rest])))
    entries.append(Category(f"no {title}", GREY, Shape.DIAMOND, int(counts[none])))
    used = np.flatnonzero(counts)
    return Categories(title, tuple(entries[n] for n in used), np.searchsorted(used, of))


def _no_column(chunks: Sequence[EmbeddedChunk], color: str) -> UsageError:
    known = sorted({name for chunk in chunks for name in chunk.item.columns})
    instead = f"their columns are {', '.join(known)}" if known else "they have no columns"
    return UsageError(f"color {color!r}: no item has that column; {one_line(instead)}")
