"""How far scores stand above their field's background.

Cosines of different fields do not compare (the modality gap), so chunks are compared by how far
they stand above what their own field looks like to the query. What a field's vectors have in common
moves both alike, so its mean need not be subtracted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmsearch.records import FloatArray
from mmsearch.search.dense import inner_products
from mmsearch.search.hubs import Hubs
from mmsearch.store.reader import Background

_PRIOR_ROWS = 30
_PRIOR_SPREAD = 0.1
"""A field of a few rows says little of its own background: its spread is drawn towards this, which
is typical of normalised embeddings, with the weight of this many rows."""
_PRIOR_CENTRE_ROWS = 3
"""And its median towards 0, or the only picture of an index would be its own background."""


class Level(NamedTuple):
    """A field's background for one query: its median and its standard deviation."""

    centre: np.float32
    spread: np.float32

    def standings(self, scores: FloatArray) -> FloatArray:
        """Return by how many deviations (n,) float32 scores exceed the median."""
        return (scores - self.centre) / self.spread


def levels(
    sample: Background, queries: FloatArray, hubs: Sequence[Hubs | None] | None = None
) -> list[Level]:
    """Return how a sample of a field looks to queries.

    Args:
        sample: Of the field.
        queries: (n, dim) float32.
        hubs: For each query what its scores are corrected by, if they are; none by default.
    """
    count = len(sample.rows)
    if not count:
        return [Level(np.float32(0), np.float32(_PRIOR_SPREAD))] * len(queries)
    cosines = inner_products(sample.vectors, queries)  # (n, count)
    for one in {mine for mine in hubs or () if mine is not None}:  # the same for all, as a rule
        cosines[[mine is one for mine in hubs or ()]] -= one.bias(sample.rows)
    background = np.sort(cosines, axis=1)
    deviations = background - background.mean(axis=1, keepdims=True)
    squares = np.vecdot(deviations, deviations).astype(np.float64)
    medians = background[:, (count - 1) // 2 : count // 2 + 1].mean(axis=1).astype(np.float64)
    centres = medians * count / (count + _PRIOR_CENTRE_ROWS)
    spreads = np.sqrt((squares + _PRIOR_ROWS * _PRIOR_SPREAD**2) / (count + _PRIOR_ROWS))
    return list(map(Level, centres.astype(np.float32), spreads.astype(np.float32)))
