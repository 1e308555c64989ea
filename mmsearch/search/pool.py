"""The pool of one search: candidates of all fields and of the words, grouped into items."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.dense import (
    Candidates,
    Each,
    find_candidates,
    inner_products,
    score_rows,
)
from mmsearch.store.field import Field, Selection
from mmsearch.store.metadata import CHUNK_BITS

FIRST_DEPTH = 500
"""Candidates of a field that are scored exactly: of the ten best pictures for a picture among
1,000,000, PQ64 keeps 0.98 in so many, 0.95 in 200 (the vectors of `benchmarks/ann.py`)."""
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
        across: Whether the queries are of another modality than the field, or of an unknown one.
        judges: For each query what looks at the first candidates, if anything does.
    """

    field: Field
    queries: FloatArray
    allowed: Selection
    background: FloatArray
    across: bool
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
    looked = [
        list(each(partial(_look, probe), _candidates(probe, k, each), probe.queries, extra_items))
        for probe in probes
    ]
    return [
        _pool([_judged(chunks[n], p.judges[n]) for p, chunks in zip(probes, looked, strict=True)])
        for n in range(len(extra_items))
    ]


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Chunks of one field for one query.

    Attributes:
        ids: (n,) int64.
        cosines: (n,) float32.
        centre: The median of the field's background for this query.
        spread: Its standard deviation.
    """

    ids: NDArray[np.int64]
    cosines: FloatArray
    centre: float
    spread: float


def _look(
    probe: Probe, found: Candidates, query: FloatArray, extra_items: NDArray[np.int64]
) -> _Chunks:
    """Return candidates and the chunks of some items, and what to compare them with."""
    ids, cosines = found.ids, found.cosines
    if len(extra_items):
        rows = _rows_of_items(probe, extra_items)
        ids = np.concatenate([ids, probe.field.ids[rows]])
        cosines = np.concatenate([cosines, score_rows(probe.field, rows, query)])
    return _Chunks(ids, cosines, *_level(probe.background, query))


def _judged(
    chunks: _Chunks, judge: Judge | None
) -> tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray]:
    """Return ids, cosines, what a judge adds to the first candidates, and all standings.

    The judged keep their cosines among them, the best judged the highest: so they stay before
    those that were not judged, and other fields' candidates compare with them as before.
    """
    ids, cosines = chunks.ids, chunks.cosines
    added, found = np.zeros(len(cosines), np.float32), cosines.copy()
    if judge is not None and len(cosines):
        first = np.lexsort((ids, -cosines))[: judge.depth]
        added[first] = judge.look(ids[first])
        best = np.argsort(-(cosines + added)[first], kind="stable")
        found[first[best]] = cosines[first]
    return ids, cosines, added, (found - chunks.centre) / np.float32(chunks.spread)


def _candidates(probe: Probe, k: int, each: Each) -> list[Candidates]:
    """Return a field's best chunks for each query: of ``k`` items, or all that there are."""
    depth = max(FIRST_DEPTH, _CHUNKS_PER_ITEM * k)
    find = partial(find_candidates, probe.field, across=probe.across, each=each)
    found = find(probe.queries, depth, probe.allowed)
    while short := [n for n, mine in enumerate(found) if _is_short(mine, k)]:
        depth *= 4
        more = find(probe.queries[short], depth, probe.allowed)
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


def _level(sample: FloatArray, query: FloatArray) -> tuple[float, float]:
    """Return the median and the standard deviation of a field's background for a query."""
    if not len(sample):
        return 0.0, _PRIOR_SPREAD
    count, background = len(sample), np.sort(inner_products(sample, query))
    deviations = background - background.mean()
    variance = float(deviations @ deviations) + _PRIOR_ROWS * _PRIOR_SPREAD**2
    median = float(background[(count - 1) // 2 : count // 2 + 1].mean())
    centre = median * count / (count + _PRIOR_CENTRE_ROWS)
    return centre, math.sqrt(variance / (count + _PRIOR_ROWS))


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
