"""Training of compact towers from scratch."""

from mmsearch.train.towers.options import Options
from mmsearch.train.towers.report import TowersReport
from mmsearch.train.towers.run import train_towers

__all__ = ["Options", "TowersReport", "train_towers"]
