"""The fusion scorer: a weighted sum of signals that are on one scale."""

from dataclasses import dataclass

from mmsearch.records import FloatArray

LEXICAL_WEIGHT = 3.0
"""What a full match of all the query's words is worth, in standard deviations of the background.

The best of 1,000 unrelated vectors stands about 3 above their mean, so words that match outweigh
chance, while a clear match of meaning (5 and more) outweighs words.
"""


@dataclass(frozen=True, slots=True)
class Signals:
    """What speaks for each of n candidates.

    Attributes:
        standings: (n,) float32: cosine in standard deviations above the field's background.
        lexical: (n,) float32: BM25 as a share of the query's best possible, 0 to 1.
    """

    standings: FloatArray
    lexical: FloatArray


def fuse(signals: Signals) -> FloatArray:
    """Return (n,) float32 scores: ``standing + LEXICAL_WEIGHT · lexical``."""
    return signals.standings + LEXICAL_WEIGHT * signals.lexical
