"""What a score says of relevance: the log-odds that something relevant stands so high.

A score stands z standard deviations above its field's background for the query. Among n vectors of
which one is relevant, that one is as likely as ``exp(offset + slope · z) / n`` against one. Such
evidence compares between fields, where scores do not: captions that mean the same stand higher
than a photo above a caption's background.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

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


OTHERS = 0.7
"""What an item's other parts count: they say partly the same. Of 0.3, 0.5, 0.7 and 1, nDCG@10 of
captions to photos with another caption each is 0.723, 0.729, 0.733 and 0.733 (images 1 to 500 of
Flickr8k's dev split, `mini-2`)."""


def gained(evidence: FloatArray) -> FloatArray:
    """Return what parts with such evidence, (n,), add to an item that has a better one."""
    return np.asarray(OTHERS * np.logaddexp(0, evidence), np.float32)


def line(asked: Collection[Modality], searched: Modality) -> Line:
    """Return how evidence rises for queries of some modalities to a field of one."""
    if set(asked) == {searched}:
        return _WITHIN
    if set(asked) == {Modality.IMAGE} and searched is Modality.TEXT:
        return _PHOTO_TO_CAPTION
    return _ACROSS
