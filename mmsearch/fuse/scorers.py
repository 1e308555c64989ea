"""Fusion scorers: from what speaks for each candidate to the score that orders them.

A scorer returns the shares of the scores, whose sum is the score.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray

WORDS = 2.0
"""Log-odds that the best match of a query's words is worth in an item whose texts have vectors,
which have said most of it already."""
WORDS_ALONE = 6.0
"""The same in what is only named: a picture with a title, tags or a telling file name."""
WORDLESS = 1.0
"""Log-odds that an item whose texts have vectors loses by lacking the words: what has no text could
not have had them. With these three, and `mini-2`, nDCG@10 on images 1 to 500 of Flickr8k's dev
split is 0.733 for photos with captions and 0.627 for photos with titles. One weight of 3 and a loss
of 2 had 0.002 less and 0.06 less, and the same in lists of photos, with titles or not, and
captions (a `mini-2` of fewer steps)."""
LEXICAL_FLOOR = 0.1
"""A query whose words are found no better than so counts by the square of how well: it was a common
word, or a letter in the name of a file."""
_RRF = 60
"""The constant of reciprocal rank fusion (Cormack et al. 2009)."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What speaks for each of n items.

    Attributes:
        own: (n,) float32: log-odds by the vector of what would be the hit.
        evidence: (n,) float32: log-odds by the vectors of all the item's parts.
        lexical: (n,) float32: BM25 as a share of the query's best possible, 0 to 1.
        worded: (n,) bool: whether the item has a text with a vector.
        unfound: What a text may have that was not found: the BM25 of the last that was, where no
            more were looked for.
        whole: Whether words are all that is asked: to lack a part of it costs nothing.
    """

    own: FloatArray
    evidence: FloatArray
    lexical: FloatArray
    worded: NDArray[np.bool_]
    unfound: float = 0.0
    whole: bool = True


Shares: TypeAlias = Mapping[str, FloatArray]
"""What the score of each item is the sum of, by name, (n,) float32 each."""


def by_evidence(signals: Signals) -> Shares:
    """What the vectors say alone."""
    return {"vector": signals.own, "other parts": signals.evidence - signals.own}


def convex(signals: Signals) -> Shares:
    """``evidence + strength² · (weight · BM25 / best BM25 - WORDLESS)``.

    The weight is ``WORDS``, or ``WORDS_ALONE`` for an item without a text that has a vector, which
    loses nothing. Up to a factor the convex combination of Bruch et al. (arXiv 2210.11934): BM25
    scaled to its range for the query, and evidence, which is on one scale for all queries. The
    strength is 1 where words are found well, see :func:`lexical_strength`. Among texts the last
    term changes no order; it is what lets pictures without a text compare with them.
    """
    best = float(signals.lexical.max(initial=0)) or 1.0
    judged = signals.worded & signals.whole
    lexical = np.where(judged, np.maximum(signals.lexical, signals.unfound), signals.lexical)
    weights = np.where(signals.worded, WORDS, WORDS_ALONE)
    share = np.maximum(lexical / best, -1)  # what is not wanted loses no more than words can gain
    words = weights * share - np.where(judged, WORDLESS, 0)
    strength = np.float32(lexical_strength(signals))
    return {**by_evidence(signals), "words": strength**2 * np.asarray(words, np.float32)}


def rrf(signals: Signals) -> Shares:
    """Reciprocal ranks by evidence and by BM25 (Cormack et al. 2009)."""
    by_words = np.where(signals.lexical > 0, _reciprocal_ranks(signals.lexical), np.float32(0))
    return {"rank by vectors": _reciprocal_ranks(signals.evidence), "rank by words": by_words}


def _reciprocal_ranks(values: FloatArray) -> FloatArray:
    """Return ``1 / (60 + rank)``, ranks from 1 for the highest; equal values share the best."""
    ranks = np.searchsorted(np.sort(-values), -values) + 1
    return np.asarray(1 / (_RRF + ranks), np.float32)


def scores(shares: Shares) -> FloatArray:
    """Return (n,) float32: the sums of the shares."""
    return np.asarray(np.sum([*shares.values()], axis=0), np.float32)


def lexical_strength(signals: Signals) -> float:
    """Return how well the query's words are found, 0 to 1: the best BM25 by its floor."""
    return min(1.0, float(signals.lexical.max(initial=0)) / LEXICAL_FLOOR)


Scorer: TypeAlias = Callable[[Signals], Shares]
SCORERS: Mapping[str, Scorer] = {"convex": convex, "rrf": rrf, "none": by_evidence}
"""By the name that a user gives; the first is the default."""
DEFAULT_SCORER = next(iter(SCORERS))
