"""From a candidate's signals to its final score."""

from mmsearch.fuse.convex import LEXICAL_WEIGHT, Signals, fuse

__all__ = ["LEXICAL_WEIGHT", "Signals", "fuse"]
