"""A heat map: what of a picture fits a query, and how that is painted over it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL.Image import Image, fromarray

from mmsearch.encode.seeing import Box
from mmsearch.errors import MMSearchError, UsageError, one_line
from mmsearch.records import FloatArray
from mmsearch.whole import written_whole

COLD, HOT = 1.5, 5.0
"""Deviations at which colour begins, and at which it is full; docs/benchmarks.md shows what photos
have that a text is about, and others."""
LARGEST_PX = 1024
"""Of a side: a map of a few dozen places shows no more on a larger picture."""
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_COLOURS = np.array([(87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 225, 60)], np.float32)
"""From cold to hot, at equal steps: near to matplotlib's `inferno`, which ends in white."""
_COVERED = 0.85
"""What the hottest colour covers of what is below it."""
_SHADED = 0.5
"""What a colour loses where the picture is black, so that it can be seen through it."""
_UNSEEN = 0.35
"""How bright that is of which the encoder sees nothing."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """What of one picture fits a query.

    Attributes:
        picture: It, upright, in RGB, at most ``LARGEST_PX`` wide and high.
        heat: (rows, columns) float32: by how many standard deviations each place fits the query
            better than other queries (docs/ranking.md).
        box: Where on the picture these places lie; nothing is known of the rest.
    """

    picture: Image = field(repr=False)
    heat: FloatArray = field(repr=False)
    box: Box

    def pixels(self) -> FloatArray:
        """The heat of each pixel, (height, width) float32; NaN where the encoder sees nothing."""
        width, height = self.picture.size
        rows, columns = self.heat.shape
        down = _shares(height, self.box.top, self.box.bottom, rows)
        across = _shares(width, self.box.left, self.box.right, columns)
        return np.asarray(down @ self.heat @ across.T, np.float32)

    def painted(self) -> Image:
        """The picture in grey, and over it what is hot in colour."""
        heat = self.pixels()
        strength = np.clip((np.nan_to_num(heat) - COLD) / (HOT - COLD), 0, 1)
        opaque = _COVERED * np.sqrt(strength)[:, :, None]
        grey = np.asarray(self.picture.convert("L"), np.float32)[:, :, None] / 255
        mixed = (1 - opaque) * grey + opaque * _colours(strength) * (1 - _SHADED * (1 - grey))
        mixed[np.isnan(heat)] *= _UNSEEN
        return fromarray(np.clip(255 * mixed + 0.5, 0, 255).astype(np.uint8))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the painted picture.

        Args:
            path: Ends in .jpg or .png.

        Raises:
            UsageError: It ends otherwise.
            MMSearchError: It cannot be written.
        """
        target = Path(path)
        name = one_line(str(target))
        if target.suffix.lower() not in _FORMATS:
            raise UsageError(f"{name}: a heat map ends in {', '.join(_FORMATS)}")
        try:
            with written_whole(target) as temporary:
                self.painted().save(temporary, _FORMATS[target.suffix.lower()], quality=90)
        except OSError as error:
            raise MMSearchError(f"cannot write {name}: {error.strerror or error}") from error


def _colours(strength: FloatArray) -> FloatArray:
    """From 0, cold, to 1, hot: (height, width) to (height, width, 3) float32, 0 to 1."""
    steps, at = strength * (len(_COLOURS) - 1), np.arange(len(_COLOURS))
    channels = [np.interp(steps, at, channel) for channel in _COLOURS.T]
    return np.asarray(np.stack(channels, axis=2) / 255, np.float32)


def _shares(pixels: int, start: float, stop: float, places: int) -> FloatArray:
    """What each place counts for each pixel of a side, between the middles of two linearly.

    Args:
        pixels: Of the side.
        start: Where on it the places begin, as a share.
        stop: Where they end.
        places: How many.

    Returns:
        (pixels, places) float32; NaN for pixels that none of them covers.
    """
    at = ((np.arange(pixels) + 0.5) / pixels - start) / (stop - start)
    middles = np.clip(at * places - 0.5, 0, places - 1)
    shares = np.maximum(0, 1 - np.abs(middles[:, None] - np.arange(places)))
    shares[(at < 0) | (at > 1)] = np.nan
    return np.asarray(shares, np.float32)
