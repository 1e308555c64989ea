"""What a score says of relevance: the log-odds that something relevant stands so high.

A score stands z standard deviations above its field's background for the query. Among n vectors of
which one is relevant, that one is as likely as ``exp(offset + slope · z) / n`` against one. Such
evidence compares between fields, where scores do not: captions that mean the same stand higher
than a photo above a caption's background.
"""

from collections.abc import Collection
from typing import NamedTuple

from mmsearch.records import FloatArray, Modality


class Line(NamedTuple):
    """How evidence rises with a standing."""

    offset: float
    slope: float

    def evidence(self, standings: FloatArray) -> FloatArray:
        """Return log-odds, (n,) float32, for (n,) standings."""
        return self.offset + self.slope * standings


_WITHIN = Line(-3.6, 2.0)
_ACROSS = Line(-1.9, 1.85)
_PHOTO_TO_CAPTION = Line(0.6, 1.6)
"""Logistic regressions (Platt 1999) on the first 100 answers among 500 photos of Flickr8k's dev
split with `mini-2`: captions to other captions, captions to photos (corrected for hubs), photos to
captions; refitted by `benchmarks/ranking_fit.py`. Pairs with sounds were not measured: they count
like texts and pictures, and queries within any modality like captions."""


def line(asked: Collection[Modality], searched: Modality) -> Line:
    """Return how evidence rises for queries of some modalities to a field of one."""
    if set(asked) == {searched}:
        return _WITHIN
    if set(asked) == {Modality.IMAGE} and searched is Modality.TEXT:
        return _PHOTO_TO_CAPTION
    return _ACROSS
