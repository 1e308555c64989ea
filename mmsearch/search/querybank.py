"""Querybank normalisation (QB-Norm: Bogolin et al. 2022, arXiv 2112.12777).

Its Dynamic Inverted Softmax makes of a cosine with row i, by the m queries b of a bank,

    exp(beta s(q, i)) / sum_b exp(beta s(b, i)),

for queries whose nearest row is the nearest of some query of the bank, too (the activation set);
for others the cosine stays. The logarithm of it, divided by beta, has the same order, and is the
cosine less ``ln(sum_b exp(beta s(b, i))) / beta``. Here the mean stands for the sum, which moves
all rows alike: so what is subtracted is how near the row is to what is usually asked.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.dense import find_candidates
from mmsearch.search.effort import Effort
from mmsearch.search.hubs import Hubs
from mmsearch.store.field import Field
from mmsearch.store.once import computed_once
from mmsearch.store.selection import Selection

BETA = 20.0
"""The inverse temperature that the paper's code has as its default (github.com/ioanacroi/qb-norm);
so has the size of the activation set's neighbourhoods, the nearest one."""
_BLOCK_ROWS = 2_048


class Querybank:
    """A bank of queries over the rows of a field."""

    def __init__(self, field: Field, queries: FloatArray, effort: Effort, alive: Selection) -> None:
        """Find the activation set.

        Args:
            field: What is searched.
            queries: (m, dim) float32, the bank.
            effort: How thoroughly the field is searched.
            alive: Its rows that can be found.
        """
        self._field, self._queries, self._effort = field, queries, effort
        self._active = set(self._nearest(queries, alive)) - {None}

    def hubs(self, queries: FloatArray, allowed: Selection) -> list[Hubs | None]:
        """Return for each of (n, dim) float32 queries what its scores are corrected by, if so."""
        nearest = self._nearest(queries, allowed)
        return [self if chunk_id in self._active else None for chunk_id in nearest]

    def bias(self, rows: NDArray[np.int64] | None = None) -> FloatArray:
        """Return what is subtracted from the cosines of some rows, or of all, (n,) float32."""
        if self._field.info.codebook is None:
            return self._everything if rows is None else self._everything[rows]
        rows = np.arange(self._field.rows) if rows is None else rows
        return soft_nearness(self._field.gather(rows), self._queries)

    @computed_once
    def _everything(self) -> FloatArray:
        """That of all rows, where these are in memory."""
        return soft_nearness(self._field.matrix, self._queries)

    def _nearest(self, queries: FloatArray, allowed: Selection) -> Sequence[int | None]:
        """The chunk id of the row with the highest cosine, for each query."""
        depth = self._effort.depth if self._field.info.codebook else 1
        found = find_candidates(self._field, queries, replace(self._effort, depth=depth), allowed)
        return [int(one.ids[0]) if len(one.ids) else None for one in found]


def soft_nearness(vectors: FloatArray, queries: FloatArray) -> FloatArray:
    """Return ``ln(mean_b exp(BETA s(b, i))) / BETA`` of vectors, (n,) float32.

    In double precision, so that equal vectors get equal values whatever stands beside them.

    Args:
        vectors: (n, dim) float32.
        queries: (m, dim) float32, at least one.
    """
    bank, found = BETA * queries.T.astype(np.float64), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        some = slice(start, start + _BLOCK_ROWS)
        logits = vectors[some].astype(np.float64) @ bank
        highest = logits.max(axis=1)
        sums = np.exp(logits - highest[:, None]).mean(axis=1)
        found[some] = (highest + np.log(sums)) / BETA
    return found
