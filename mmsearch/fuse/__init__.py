"""From a candidate's signals to its final score and its relevance."""

from mmsearch.fuse.relevance import relevance
from mmsearch.fuse.scorers import DEFAULT_SCORER, SCORERS, Scorer, Shares, Signals, scores

__all__ = ["DEFAULT_SCORER", "SCORERS", "Scorer", "Shares", "Signals", "relevance", "scores"]
