"""Fusion scorers, fitted to what an index is asked and what is then chosen."""

from mmsearch.train.fusion.report import FusionReport
from mmsearch.train.fusion.run import train_fusion

__all__ = ["FusionReport", "train_fusion"]
