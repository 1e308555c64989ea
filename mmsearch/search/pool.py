"""The pool of one search: candidates of all fields and of the words, and the items they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.dense import (
    Candidates,
    Effort,
    corrected,
    find_candidates,
    inner_products,
    score_rows,
)
from mmsearch.store.field import Field, Selection
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.nearness import Nearness
from mmsearch.store.reader import Background

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
        background: A sample of the field's live vectors.
        effort: How thoroughly to look.
        judges: For each query what looks at the first candidates, if anything does.
        hubs: What cosines are corrected by, if they are.
    """

    field: Field
    queries: FloatArray
    allowed: Selection
    background: Background
    effort: Effort
    judges: Sequence[Judge | None]
    hubs: Nearness | None

    def part(self, some: slice) -> "Probe":
        """Return the same for some of the queries."""
        return replace(self, queries=self.queries[some], judges=self.judges[some])


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks of one field for one query, in no order; one may be there twice.

    Attributes:
        ids: (n,) int64.
        cosines: (n,) float32.
        scores: (n,) float32: the cosines, corrected for hubs.
        standings: (n,) float32: standard deviations of the scores above the field's background.
        judge: What is yet to look at the first of them, if anything is.
    """

    ids: NDArray[np.int64]
    cosines: FloatArray
    scores: FloatArray
    standings: FloatArray
    judge: Judge | None


@dataclass(frozen=True, slots=True)
class Pool:
    """Chunks of all fields that can be what is found; parallel arrays, in no order.

    Attributes:
        chunk_ids: (n,) int64.
        cosines: (n,) float32.
        hubness: (n,) float32: what was subtracted from the cosines.
        judged: (n,) float32: what a judge has added to them; 0 for what it has not seen.
        standings: (n,) float32: standard deviations above the field's background.
    """

    chunk_ids: NDArray[np.int64]
    cosines: FloatArray
    hubness: FloatArray
    judged: FloatArray
    standings: FloatArray

    @property
    def item_ids(self) -> NDArray[np.int64]:
        """Whose chunks they are, (n,) int64."""
        return self.chunk_ids >> CHUNK_BITS

    def best(self, scores: FloatArray, k: int) -> list[int]:
        """Return the places of the ``k`` best items, each by its best chunk; best first.

        Args:
            scores: (n,) float32, which rise with the standings of an item's chunks.
            k: How many; fewer are returned where there are no more.
        """
        items = self.item_ids
        order = np.lexsort((self.chunk_ids, -self.standings, items, -scores))
        best: dict[int, int] = {}
        for place, item in zip(order.tolist(), items[order].tolist(), strict=True):
            best.setdefault(item, place)
            if len(best) == k:
                break
        return list(best.values())


def look(probe: Probe, k: int, extra_items: Sequence[NDArray[np.int64]]) -> list[Chunks]:
    """Return for each query the chunks of a field that its ``k`` best items can come from.

    Cosines of different fields do not compare (the modality gap), so chunks are compared by how far
    they stand above their own field's background for this query. What a field's vectors have in
    common moves both alike, so its mean need not be subtracted.

    Args:
        probe: Where to look.
        k: How many items to take from the field, if it has them.
        extra_items: For each query (n,) int64 ids of items found otherwise, whose chunks join.
    """
    levels = _levels(probe.background, probe.queries, probe.hubs)
    one_by_one = zip(probe.queries, levels, probe.judges, extra_items, strict=True)
    looked = []
    for found, (query, level, judge, items) in zip(_candidates(probe, k), one_by_one, strict=True):
        standings = level.standings(found.scores)
        first = slice(max(_leading(found.ids, standings, k), judge.depth if judge else 0))
        ids, cosines, scores = found.ids[first], found.cosines[first], found.scores[first]
        chunks = Chunks(ids, cosines, scores, standings[first], judge)
        looked.append(_joined(chunks, probe, query, level, items) if len(items) else chunks)
    return looked


def _joined(
    chunks: Chunks, probe: Probe, query: FloatArray, level: "_Level", items: NDArray[np.int64]
) -> Chunks:
    """Return chunks together with those of some items."""
    rows = _rows_of_items(probe, items)
    cosines = score_rows(probe.field, rows, query)
    scores = corrected(cosines, rows, probe.hubs)
    return Chunks(
        np.concatenate([chunks.ids, probe.field.ids[rows]]),
        np.concatenate([chunks.cosines, cosines]),
        np.concatenate([chunks.scores, scores]),
        np.concatenate([chunks.standings, level.standings(scores)]),
        chunks.judge,
    )


def pooled(fields: Sequence[Chunks]) -> Pool:
    """Judge a query's chunks of each field, and put those of all fields together."""
    return Pool(*map(np.concatenate, zip(*map(_judged, fields), strict=True)))


def _judged(
    chunks: Chunks,
) -> tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the columns of a pool: a judge adds to the first candidates.

    The judged keep their standings among them, the best judged the highest: so they stay before
    those that were not judged, and other fields' candidates compare with them as before.
    """
    ids, scores, standings = chunks.ids, chunks.scores, chunks.standings
    added = np.zeros(len(ids), np.float32)
    if chunks.judge is not None and len(ids):
        first = np.lexsort((ids, -scores))[: chunks.judge.depth]
        added[first] = chunks.judge.look(ids[first])
        best = np.argsort(-(scores + added)[first], kind="stable")
        standings = standings.copy()
        standings[first[best]] = chunks.standings[first]
    return ids, chunks.cosines, chunks.cosines - scores, added, standings


def _candidates(probe: Probe, k: int) -> list[Candidates]:
    """Return a field's best chunks for each query: of ``k`` items, or all that there are."""
    effort = replace(probe.effort, depth=max(probe.effort.depth, _CHUNKS_PER_ITEM * k))
    found = find_candidates(probe.field, probe.queries, effort, probe.allowed, probe.hubs)
    while short := [n for n, mine in enumerate(found) if _is_short(mine, k)]:
        effort = replace(effort, depth=4 * effort.depth)
        queries = probe.queries[short]
        more = find_candidates(probe.field, queries, effort, probe.allowed, probe.hubs)
        for n, mine in zip(short, more, strict=True):
            found[n] = mine
    return found


def _is_short(found: Candidates, k: int) -> bool:
    return not found.exhausted and _kth_item(found.ids, k) is None


def _leading(ids: NDArray[np.int64], standings: FloatArray, k: int) -> int:
    """Return how many chunks, best first, can be hits: those behind stand lower than ``k`` items.

    Words raise an item further, but all chunks of the items that words have found join anyway.
    """
    at = _kth_item(ids, k)
    if at is None:
        return len(ids)
    end = at + 1
    while end < len(ids) and standings[end] == standings[at]:
        end += 1
    return end


def _kth_item(ids: NDArray[np.int64], k: int) -> int | None:
    """Return where the ``k``-th item of some chunks comes first; None if they are of fewer."""
    seen: set[int] = set()
    for at, chunk_id in enumerate(ids.data):  # ends early: not all become a list
        seen.add(chunk_id >> CHUNK_BITS)
        if len(seen) == k:
            return at
    return None


def _rows_of_items(probe: Probe, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the allowed rows of some items."""
    first = np.searchsorted(probe.field.ids, items << CHUNK_BITS)
    last = np.searchsorted(probe.field.ids, (items + 1) << CHUNK_BITS)
    spans = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    rows: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *spans])
    return rows[probe.allowed.mask[rows]]


class _Level(NamedTuple):
    """A field's background for one query: its median and its standard deviation."""

    centre: np.float32
    spread: np.float32

    def standings(self, scores: FloatArray) -> FloatArray:
        """Return by how many deviations (n,) float32 scores exceed the median."""
        return (scores - self.centre) / self.spread


def _levels(sample: Background, queries: FloatArray, hubs: Nearness | None) -> list[_Level]:
    """Return how a sample of a field looks to each of (n, dim) float32 queries."""
    count = len(sample.rows)
    if not count:
        return [_Level(np.float32(0), np.float32(_PRIOR_SPREAD))] * len(queries)
    cosines = inner_products(sample.vectors, queries)  # (n, count)
    background = np.sort(corrected(cosines, sample.rows, hubs), axis=1)
    deviations = background - background.mean(axis=1, keepdims=True)
    squares = np.vecdot(deviations, deviations).astype(np.float64)
    medians = background[:, (count - 1) // 2 : count // 2 + 1].mean(axis=1).astype(np.float64)
    centres = medians * count / (count + _PRIOR_CENTRE_ROWS)
    spreads = np.sqrt((squares + _PRIOR_ROWS * _PRIOR_SPREAD**2) / (count + _PRIOR_ROWS))
    return list(map(_Level, centres.astype(np.float32), spreads.astype(np.float32)))


def best_words(scored: Sequence[tuple[int, float]]) -> Mapping[int, float]:
    """Return each item's best lexical score from (chunk id, score) pairs."""
    best: dict[int, float] = {}
    for chunk_id, score in scored:
        item_id = chunk_id >> CHUNK_BITS
        best[item_id] = max(score, best.get(item_id, 0.0))
    return best
