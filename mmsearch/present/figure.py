"""Figures as PNG: what every drawing with matplotlib shares."""

import io
import warnings
from typing import TYPE_CHECKING, Any

from mmsearch.errors import MMSearchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK = "#1d1c1a"
MUTED = "#635f57"
LINE = "#dedbd3"


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure that no window and no other figure knows of.

    Raises:
        MMSearchError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MMSearchError(
            f"a PNG needs matplotlib ({error}): pip install 'mmsearch[plot]'"
        ) from None
    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


def plain_axes(axes: "Axes") -> None:
    """Make axes recede behind what they hold."""
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)


def plain_text(text: Any, words: str) -> None:
    """Set words of files: a dollar sign in them is no formula."""
    text.set_parse_math(False)
    text.set_text(words)


def png(figure: "Figure") -> bytes:
    """Draw a figure."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
