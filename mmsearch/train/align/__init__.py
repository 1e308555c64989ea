"""Alignment: heads on frozen encoders, fitted to pairs."""

from mmsearch.train.align.report import AlignReport, Change
from mmsearch.train.align.run import Options, align

__all__ = ["AlignReport", "Change", "Options", "align"]
