"""Relevance: the probability that a hit is what was meant."""

import numpy as np

from mmsearch.records import FloatArray

MOST_PER_RELEVANT = 1_000
"""In larger galleries one in so many vectors is taken to be relevant, in smaller ones just one."""
_OFFSETS = (-0.5, -1.9)
_SLOPES = (0.8, 0.65)
"""Logistic regressions (Platt 1999) on the ten first answers to captions among 500 photos of
Flickr8k's dev split, `mini-2`: where none of a query's words are found, and where they are found
in other captions of the photos: between what titles and what captions without photos would choose.
Refitted by `benchmarks/ranking_fit.py`."""


def relevance(convex_scores: FloatArray, strength: float, gallery: int) -> FloatArray:
    """Return the probability that each item is relevant, (n,) float32.

    ``1 / (1 + exp(-(a + b · (convex score - ln gallery))))``: of so many vectors any could stand
    high by chance. Where words are found in some items, they add to scores: a and b are lower the
    better they are found.

    Args:
        convex_scores: (n,) float32, see :func:`mmsearch.fuse.scorers.convex`.
        strength: How well words are found, see :func:`mmsearch.fuse.scorers.lexical_strength`.
        gallery: Among how many vectors was searched.
    """
    offset, slope = (a + strength * (b - a) for a, b in (_OFFSETS, _SLOPES))
    prior = np.log(np.clip(gallery, 1, MOST_PER_RELEVANT))
    log_odds = offset + slope * (convex_scores - prior)
    return np.asarray(1 / (1 + np.exp(-log_odds)), np.float32)
