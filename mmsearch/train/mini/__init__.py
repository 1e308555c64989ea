"""The recipe of the embedded model: ``python -m mmsearch.train.mini``."""
