"""Candidates of one field for one query vector, with exact scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.field import Field

EXACT_CANDIDATES = 20_000
_EXACT_SHARE = 8
"""A filter that leaves at most so many rows, and an eighth of them, is answered by scoring all."""
_PROBED_SHARE = 32
_LEAST_PROBED = 8
_BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of a field, best first.

    Attributes:
        ids: (n,) int64 chunk ids.
        cosines: (n,) float32, exact inner products with the query.
        exhausted: Whether the field has no further allowed rows.
    """

    ids: NDArray[np.int64]
    cosines: FloatArray
    exhausted: bool


def find_candidates(
    field: Field, query: FloatArray, depth: int, allowed: NDArray[np.bool_]
) -> Candidates:
    """Return the ``depth`` best allowed rows of a field.

    Exact where the field has no codebook or the filter leaves few rows; else the rows that the
    quantised index proposes, scored exactly on their float16 vectors. A depth of all rows is exact
    too, so whoever asks on gets everything.

    Args:
        field: What to search.
        query: (dim,) float32.
        depth: How many rows.
        allowed: (rows,) bool.
    """
    count = int(np.count_nonzero(allowed))
    if field.info.codebook is None:
        scores = np.where(allowed, inner_products(field.matrix, query), -np.inf)
        return _best(field, np.arange(field.rows), scores, min(depth, count), count)
    if count <= max(depth, min(EXACT_CANDIDATES, field.rows // _EXACT_SHARE)):
        rows = np.flatnonzero(allowed)
        return _best(field, rows, _scores(field, rows, query), min(depth, count), count)
    assert field.ann is not None
    nprobe = max(_LEAST_PROBED, field.ann.nlist // _PROBED_SHARE)
    ids = field.ann.search(query, depth, nprobe, ids=field.ids, allowed=allowed)
    rows = field.find(np.sort(ids))
    return _best(field, rows, _scores(field, rows, query), len(rows), count)


def score_rows(field: Field, rows: NDArray[np.int64], query: FloatArray) -> FloatArray:
    """Return the exact inner products of some rows with a query, (n,) float32."""
    if field.info.codebook is None:
        return inner_products(field.matrix[rows], query)
    return _scores(field, rows, query)


def _scores(field: Field, rows: NDArray[np.int64], query: FloatArray) -> FloatArray:
    blocks = [rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS)]
    scores = (inner_products(field.gather(block), query) for block in blocks)
    return np.concatenate([np.empty(0, np.float32), *scores])


def inner_products(vectors: FloatArray, query: FloatArray) -> FloatArray:
    """Return (n,) float32 for (n, dim) and (dim,) float32, each row by itself.

    A matrix product rounds a row otherwise when its neighbours change: equal vectors would get
    unequal scores, and compaction would change answers.
    """
    products: FloatArray = np.vecdot(vectors, query)
    return products


def _best(
    field: Field, rows: NDArray[np.int64], scores: FloatArray, depth: int, count: int
) -> Candidates:
    """Sort by falling score, equal scores by rising id, so that answers are reproducible."""
    if depth < len(scores):
        keep = _top(scores, depth)
        rows, scores = rows[keep], scores[keep]
    order = np.lexsort((rows, -scores))
    return Candidates(field.ids[rows[order]], scores[order], exhausted=depth >= count)


def _top(scores: FloatArray, count: int) -> NDArray[np.int64]:
    """Return where the best scores are, the first of equal ones, in no order."""
    if not count:
        return np.empty(0, np.int64)
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    ties = np.flatnonzero(scores == least)[: count - len(above)]
    return np.concatenate([above, ties])
