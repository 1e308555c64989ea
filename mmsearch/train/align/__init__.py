"""Alignment: heads on frozen encoders, fitted to pairs."""

from mmsearch.train.align.heads import Similarity
from mmsearch.train.align.report import AlignReport, Change
from mmsearch.train.align.run import Options, train_align

__all__ = ["AlignReport", "Change", "Options", "Similarity", "train_align"]
