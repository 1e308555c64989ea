"""Candidates of one field for query vectors, with exact scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.effort import Effort
from mmsearch.search.hubs import Hubs, corrected
from mmsearch.store.field import Field
from mmsearch.store.on_device import OnDevice
from mmsearch.store.selection import Selection

EXACT_CANDIDATES = 20_000
_EXACT_SHARE = 8
"""A filter that leaves at most so many rows, and an eighth of them, is answered by scoring all."""
_BLOCK_ROWS = 8192
_BLOCK_QUERIES = 64


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of a field, best first.

    Attributes:
        ids: (n,) int64 chunk ids.
        cosines: (n,) float32, exact inner products with the query.
        scores: (n,) float32, falling: the cosines, corrected for hubs.
        exhausted: Whether the field has no further allowed rows.
    """

    ids: NDArray[np.int64]
    cosines: FloatArray
    scores: FloatArray
    exhausted: bool


def propose(
    field: Field, queries: FloatArray, effort: Effort, allowed: Selection
) -> NDArray[np.int64] | None:
    """Return the allowed rows that a field's codes propose, on all cores: many queries cost less.

    Args:
        field: What to search.
        queries: (n, dim) float32.
        effort: How thoroughly.
        allowed: The rows that may come back.

    Returns:
        (n, depth) int64, -1 where there are no more; None where codes are not asked: the field has
        none or is on a device, or the filter leaves few rows.
    """
    if field.info.codebook is None or _are_few(field, effort.depth, allowed):
        return None
    if field.on_device is not None:
        return None
    assert field.ann is not None
    return field.ann.search(queries, effort.depth, effort.nprobe, effort.reach, allowed)


def _are_few(field: Field, depth: int, allowed: Selection) -> bool:
    """Whether so few rows are allowed that all are read, whatever is in memory."""
    few = max(depth, min(EXACT_CANDIDATES, field.rows // _EXACT_SHARE))
    return allowed.count <= few


def find_candidates(
    field: Field,
    queries: FloatArray,
    effort: Effort,
    allowed: Selection,
    hubs: Sequence[Hubs | None] | None = None,
    proposed: NDArray[np.int64] | None = None,
) -> list[Candidates]:
    """Return for each query the best allowed rows of a field, as many as the effort is deep.

    Exact where codes propose nothing; else the rows that they propose, scored exactly on their
    float16 vectors. A depth of all rows is exact too, so whoever asks on gets everything.

    Args:
        field: What to search.
        queries: (n, dim) float32.
        effort: How thoroughly.
        allowed: The rows that may come back.
        hubs: For each query what its scores are corrected by, if they are; none by default.
        proposed: What :func:`propose` returns for them, if it was asked already.
    """
    hubs = [None] * len(queries) if hubs is None else hubs
    if proposed is None:
        proposed = propose(field, queries, effort, allowed)
    if proposed is not None:
        return [_rescored(field, *one) for one in zip(proposed, queries, hubs, strict=True)]
    if field.info.codebook is None:
        return [*_scan(field, queries, effort.depth, allowed, hubs)]
    if _are_few(field, effort.depth, allowed):
        pairs = zip(queries, hubs, strict=True)
        return [_best(field, allowed.rows, effort.depth, query, mine) for query, mine in pairs]
    assert field.on_device is not None
    return [*_found_on(field.on_device, field, queries, effort.depth, allowed, hubs)]


def score_rows(field: Field, rows: NDArray[np.int64], query: FloatArray) -> FloatArray:
    """Return the exact inner products of some rows with a query, (n,) float32."""
    if field.info.codebook is None:
        whole = len(rows) == field.rows
        return inner_products(field.matrix if whole else field.matrix[rows], query)
    blocks = [rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS)]
    products = (field.inner_products(block, query) for block in blocks)
    return np.concatenate([np.empty(0, np.float32), *products])


def _scan(
    field: Field,
    queries: FloatArray,
    depth: int,
    allowed: Selection,
    hubs: Sequence[Hubs | None],
) -> Iterator[Candidates]:
    """Score all allowed rows of a field that is in memory, and yield for each query the best.

    One matrix product for many queries says nearly which these are; it rounds a row otherwise when
    its neighbours change. All that may be among them are scored again, each by itself.
    """
    rows, matrix = allowed.rows, field.matrix
    few = len(rows) < field.rows // 2
    scanned, columns = (matrix[rows], slice(None)) if few else (matrix, rows)
    margin = 2 * field.longest * matrix.shape[1] * np.finfo(np.float32).eps
    for at in range(0, len(queries), _BLOCK_QUERIES):
        block = queries[at : at + _BLOCK_QUERIES]
        products = (block @ scanned.T)[:, columns]
        some = zip(block, products, hubs[at : at + _BLOCK_QUERIES], strict=True)
        for query, estimates, mine in some:
            scores, length = corrected(estimates, rows, mine), np.sqrt(query @ query)
            near = rows[_near_top(scores, depth, margin * length)]
            best = _best(field, near, depth, query, mine)
            yield replace(best, exhausted=depth >= len(rows))


def _found_on(
    device: OnDevice,
    field: Field,
    queries: FloatArray,
    depth: int,
    allowed: Selection,
    hubs: Sequence[Hubs | None],
) -> Iterator[Candidates]:
    """Have a device say which rows may be among the best, and score those again.

    All queries are corrected alike: what differs between them is not for devices.
    """
    mine = hubs[0]
    bias = None if mine is None else mine.bias()
    for at in range(0, len(queries), _BLOCK_QUERIES):
        block = queries[at : at + _BLOCK_QUERIES]
        near = device.near_top(block, depth, allowed.mask, bias)
        for query, rows in zip(block, near, strict=True):
            best = _best(field, rows, depth, query, mine)
            yield replace(best, exhausted=depth >= allowed.count)


def _near_top(scores: FloatArray, count: int, margin: float) -> NDArray[np.int64]:
    """Return where scores are that may be among the best: no further below them than a margin."""
    if count >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    return np.flatnonzero(scores >= least - margin)


def _best(
    field: Field, rows: NDArray[np.int64], depth: int, query: FloatArray, hubs: Hubs | None
) -> Candidates:
    """Score some rows and return the best."""
    exhausted = depth >= len(rows)
    cosines = score_rows(field, rows, query)
    scores = corrected(cosines, rows, hubs)
    keep = _top(scores, min(depth, len(rows)))
    return _sorted(field, rows[keep], cosines[keep], scores[keep], exhausted=exhausted)


def _rescored(
    field: Field, proposed: NDArray[np.int64], query: FloatArray, hubs: Hubs | None
) -> Candidates:
    """Score the rows that a quantised index proposes, -1 among them for none."""
    rows = proposed[proposed >= 0]
    cosines = score_rows(field, rows, query)
    return _sorted(field, rows, cosines, corrected(cosines, rows, hubs), exhausted=False)


def inner_products(vectors: FloatArray, queries: FloatArray) -> FloatArray:
    """Return (..., n) float32 for (n, dim) and (..., dim) float32, each row by itself.

    A matrix product rounds a row otherwise when its neighbours change: equal vectors would get
    unequal scores, and compaction would change answers.
    """
    products: FloatArray = np.vecdot(vectors, queries[..., None, :])
    return products


def _sorted(
    field: Field,
    rows: NDArray[np.int64],
    cosines: FloatArray,
    scores: FloatArray,
    *,
    exhausted: bool,
) -> Candidates:
    """Sort by falling score, equal scores by rising id, so that answers are reproducible."""
    order = np.lexsort((rows, -scores))
    return Candidates(field.ids[rows[order]], cosines[order], scores[order], exhausted)


def _top(scores: FloatArray, count: int) -> NDArray[np.int64]:
    """Return where the best scores are, the first of equal ones, in no order."""
    if not count:
        return np.empty(0, np.int64)
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    ties = np.flatnonzero(scores == least)[: count - len(above)]
    return np.concatenate([above, ties])
