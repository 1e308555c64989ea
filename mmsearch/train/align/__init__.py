"""Alignment: heads on frozen encoders, fitted to pairs."""

from mmsearch.train.align.options import Options, Similarity
from mmsearch.train.align.report import AlignReport, Change
from mmsearch.train.align.run import train_align

__all__ = ["AlignReport", "Change", "Options", "Similarity", "train_align"]
