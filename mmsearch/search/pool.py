"""The pool of one search: candidates of all fields and of the words, grouped into items."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.dense import (
    Candidates,
    Each,
    Effort,
    find_candidates,
    inner_products,
    score_rows,
)
from mmsearch.store.field import Field, Selection
from mmsearch.store.metadata import CHUNK_BITS

"""Candidates of a field that are scored exactly: PQ64 keeps 0.98 of the ten best of 1,000,000 among
so many, 0.95 among 200 (`benchmarks/ann.py`)."""
_CHUNKS_PER_ITEM = 4
_PRIOR_ROWS = 30
_PRIOR_SPREAD = 0.1
"""A field of a few rows says little of its own background: its spread is drawn towards this, which
is typical of normalised embeddings, with the weight of this many rows."""
_PRIOR_CENTRE_ROWS = 3
"""And its median towards 0, or the only picture of an index would be its own background."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Looks at candidates more closely than an inner product.

    Attributes:
        look: From (n,) int64 chunk ids to (n,) float32, what to add to their cosines.
        depth: How many of the first candidates it is to look at.
    """

    look: Callable[[NDArray[np.int64]], FloatArray]
    depth: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One field to look into, for one query or many.

    Attributes:
        field: Its vectors.
        queries: (n, dim) float32, in the field's space.
        allowed: Its rows that are alive and not filtered out.
        background: (n, dim) float32, a sample of the field's live vectors.
        effort: How thoroughly to look.
        judges: For each query what looks at the first candidates, if anything does.
    """

    field: Field
    queries: FloatArray
    allowed: Selection
    background: FloatArray
    effort: Effort
    judges: Sequence[Judge | None]


@dataclass(frozen=True, slots=True)
class Pool:
    """The best chunk of each candidate item; parallel arrays.

    Attributes:
        item_ids: (n,) int64.
        chunk_ids: (n,) int64.
        cosines: (n,) float32.
        judged: (n,) float32: what a judge has added to the cosines; 0 for what it has not seen.
        standings: (n,) float32: standard deviations above the field's background.
    """

    item_ids: NDArray[np.int64]
    chunk_ids: NDArray[np.int64]
    cosines: FloatArray
    judged: FloatArray
    standings: FloatArray


def collect(
    probes: Sequence[Probe], k: int, extra_items: Sequence[NDArray[np.int64]], each: Each = map
) -> list[Pool]:
    """Return the pool of each of some queries.

    Cosines of different fields do not compare (the modality gap), so chunks are compared by how far
    they stand above their own field's background for this query. What a field's vectors have in
    common moves both alike, so its mean need not be subtracted.

    Args:
        probes: Where to look.
        k: How many items to take from each field, if it has them.
        extra_items: For each query (n,) int64 ids of items found otherwise, whose chunks join.
        each: Applies a function to each query, on all cores or one after the other.
    """
    found = [_candidates(probe, k, each) for probe in probes]
    return [
        _pool(
            [_chunks(probe, n, mine[n], items) for probe, mine in zip(probes, found, strict=True)]
        )
        for n, items in enumerate(extra_items)
    ]


def _chunks(
    probe: Probe, n: int, found: Candidates, extra_items: NDArray[np.int64]
) -> tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray]:
    """Return ids, cosines, what a judge adds and standings of one query's chunks in a field."""
    query, chunk_ids, scores = probe.queries[n], found.ids, found.cosines
    if len(extra_items):
        rows = _rows_of_items(probe, extra_items)
        chunk_ids = np.concatenate([chunk_ids, probe.field.ids[rows]])
        scores = np.concatenate([scores, score_rows(probe.field, rows, query)])
    added, judged_scores = _judged(probe.judges[n], chunk_ids, scores)
    return chunk_ids, scores, added, _standing(probe.background, query, judged_scores)


def _judged(
    judge: Judge | None, chunk_ids: NDArray[np.int64], cosines: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what a judge adds to the first candidates, and cosines in the new order.

    The judged keep their cosines among them, the best judged the highest: so they stay before
    those that were not judged, and other fields' candidates compare with them as before.
    """
    added, found = np.zeros(len(cosines), np.float32), cosines.copy()
    if judge is not None and len(cosines):
        first = np.lexsort((chunk_ids, -cosines))[: judge.depth]
        added[first] = judge.look(chunk_ids[first])
        best = np.argsort(-(cosines + added)[first], kind="stable")
        found[first[best]] = cosines[first]
    return added, found


def _candidates(probe: Probe, k: int, each: Each) -> list[Candidates]:
    """Return a field's best chunks for each query: of ``k`` items, or all that there are."""
    depth = max(probe.effort.depth, _CHUNKS_PER_ITEM * k)
    effort = replace(probe.effort, depth=depth)
    found = find_candidates(probe.field, probe.queries, effort, probe.allowed, each)
    while short := [n for n, mine in enumerate(found) if _is_short(mine, k)]:
        effort = replace(effort, depth=4 * effort.depth)
        more = find_candidates(probe.field, probe.queries[short], effort, probe.allowed, each)
        for n, mine in zip(short, more, strict=True):
            found[n] = mine
    return found


def _is_short(found: Candidates, k: int) -> bool:
    return not found.exhausted and len(set((found.ids >> CHUNK_BITS).tolist())) < k


def _rows_of_items(probe: Probe, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the allowed rows of some items."""
    first = np.searchsorted(probe.field.ids, items << CHUNK_BITS)
    last = np.searchsorted(probe.field.ids, (items + 1) << CHUNK_BITS)
    spans = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    rows: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *spans])
    return rows[probe.allowed.mask[rows]]


def _standing(sample: FloatArray, query: FloatArray, cosines: FloatArray) -> FloatArray:
    """Return by how many standard deviations cosines exceed the field's median."""
    if not len(sample):
        return np.zeros(len(cosines), np.float32)
    count, background = len(sample), np.sort(inner_products(sample, query))
    prior = _PRIOR_ROWS * _PRIOR_SPREAD**2
    deviations = background - background.mean()
    variance = (deviations @ deviations + prior) / (count + _PRIOR_ROWS)
    median = (background[(count - 1) // 2] + background[count // 2]) / 2
    centre = median * count / (count + _PRIOR_CENTRE_ROWS)
    standing: FloatArray = (cosines - centre) / np.sqrt(variance)
    return standing.astype(np.float32)


def _pool(fields: Sequence[tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray]]) -> Pool:
    """Keep each item's best chunk of all fields."""
    chunk_ids, cosines, judged, standings = map(np.concatenate, zip(*fields, strict=True))
    items = chunk_ids >> CHUNK_BITS
    order = np.lexsort((chunk_ids, -standings, items))
    best = order[np.flatnonzero(np.diff(items[order], prepend=-1))]
    return Pool(items[best], chunk_ids[best], cosines[best], judged[best], standings[best])


def best_words(scored: Sequence[tuple[int, float]]) -> Mapping[int, float]:
    """Return each item's best lexical score from (chunk id, score) pairs."""
    best: dict[int, float] = {}
    for chunk_id, score in scored:
        item_id = chunk_id >> CHUNK_BITS
        best[item_id] = max(score, best.get(item_id, 0.0))
    return best
