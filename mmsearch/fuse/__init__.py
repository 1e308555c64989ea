"""From a candidate's signals to its final score and its relevance."""

from mmsearch.fuse.relevance import relevance
from mmsearch.fuse.scorers import (
    DEFAULT_SCORER,
    SCORERS,
    Scorer,
    Shares,
    Signals,
    convex,
    lexical_strength,
    scores,
)

__all__ = [
    "DEFAULT_SCORER",
    "SCORERS",
    "Scorer",
    "Shares",
    "Signals",
    "convex",
    "lexical_strength",
    "relevance",
    "scores",
]
