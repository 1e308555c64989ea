"""The pool of one search: candidates of all fields and of the words, grouped into items."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FieldName, FloatArray
from mmsearch.search.dense import Candidates, find_candidates, inner_products, score_rows
from mmsearch.store.field import Field
from mmsearch.store.metadata import CHUNK_BITS

_FIRST_DEPTH = 200
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
    """One field to look into.

    Attributes:
        name: The field's name.
        field: Its vectors.
        query: (dim,) float32, in the field's space.
        allowed: (rows,) bool: alive and not filtered out.
        background: (n, dim) float32, a sample of the field's live vectors.
        judge: Looks at the first candidates, if anything does.
    """

    name: FieldName
    field: Field
    query: FloatArray
    allowed: NDArray[np.bool_]
    background: FloatArray
    judge: Judge | None = None


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


def collect(probes: Sequence[Probe], k: int, extra_items: NDArray[np.int64]) -> Pool:
    """Return the pool of a search.

    Cosines of different fields do not compare (the modality gap), so chunks are compared by how far
    they stand above their own field's background for this query. What a field's vectors have in
    common moves both alike, so its mean need not be subtracted.

    Args:
        probes: Where to look.
        k: How many items to take from each field, if it has them.
        extra_items: (n,) int64 ids of items found otherwise, whose chunks join the pool.
    """
    ids, cosines, judged, standings = [], [], [], []
    for probe in probes:
        found = _candidates(probe, k)
        rows = _rows_of_items(probe, extra_items)
        chunk_ids = np.concatenate([found.ids, probe.field.ids[rows]])
        scores = np.concatenate([found.cosines, score_rows(probe.field, rows, probe.query)])
        added, judged_scores = _judged(probe, chunk_ids, scores)
        ids.append(chunk_ids)
        cosines.append(scores)
        judged.append(added)
        standings.append(_standing(probe, judged_scores))
    return _group(*map(np.concatenate, (ids, cosines, judged, standings)))


def _judged(
    probe: Probe, chunk_ids: NDArray[np.int64], cosines: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what the probe's judge adds to the first candidates, and cosines in the new order.

    The judged keep their cosines among them, the best judged the highest: so they stay before
    those that were not judged, and other fields' candidates compare with them as before.
    """
    added, found = np.zeros(len(cosines), np.float32), cosines.copy()
    if probe.judge is not None and len(cosines):
        first = np.lexsort((chunk_ids, -cosines))[: probe.judge.depth]
        added[first] = probe.judge.look(chunk_ids[first])
        best = np.argsort(-(cosines + added)[first], kind="stable")
        found[first[best]] = cosines[first]
    return added, found


def _candidates(probe: Probe, k: int) -> Candidates:
    """Return a field's best chunks: of ``k`` items, or all that there are."""
    depth = max(_FIRST_DEPTH, _CHUNKS_PER_ITEM * k)
    while True:
        found = find_candidates(probe.field, probe.query, depth, probe.allowed)
        if found.exhausted or len(np.unique(found.ids >> CHUNK_BITS)) >= k:
            return found
        depth *= 4


def _rows_of_items(probe: Probe, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the allowed rows of some items."""
    first = np.searchsorted(probe.field.ids, items << CHUNK_BITS)
    last = np.searchsorted(probe.field.ids, (items + 1) << CHUNK_BITS)
    spans = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    rows: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *spans])
    return rows[probe.allowed[rows]]


def _standing(probe: Probe, cosines: FloatArray) -> FloatArray:
    """Return by how many standard deviations cosines exceed the field's median."""
    if not len(probe.background):
        return np.zeros(len(cosines), np.float32)
    background = inner_products(probe.background, probe.query)
    prior = _PRIOR_ROWS * _PRIOR_SPREAD**2
    variance = (len(background) * background.var() + prior) / (len(background) + _PRIOR_ROWS)
    centre = np.median(background) * len(background) / (len(background) + _PRIOR_CENTRE_ROWS)
    standing: FloatArray = (cosines - centre) / np.sqrt(variance)
    return standing.astype(np.float32)


def _group(
    chunk_ids: NDArray[np.int64], cosines: FloatArray, judged: FloatArray, standings: FloatArray
) -> Pool:
    """Keep each item's best chunk."""
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
