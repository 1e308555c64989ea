"""Looking into the fields of an index: the chunks that a query's best items can come from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray, Modality
from mmsearch.search.dense import Candidates, find_candidates, score_rows
from mmsearch.search.effort import Effort
from mmsearch.search.evidence import Line
from mmsearch.search.hubs import Hubs, corrected
from mmsearch.search.standing import Level, levels
from mmsearch.store.field import Field, Selection
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.reader import Background

_CHUNKS_PER_ITEM = 4


@dataclass(frozen=True, slots=True)
class Judge:
    """Looks at candidates more closely than an inner product.

    Attributes:
        look: From (n,) int64 chunk ids to (n,) float32, what to add to their scores.
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
        line: What standing above the background is worth.
        judges: For each query what looks at the first candidates, if anything does.
        hubs: For each query what cosines are corrected by, if they are.
        shown: Whether its chunks can be hits; else they only speak for their items.
    """

    field: Field
    queries: FloatArray
    allowed: Selection
    background: Background
    effort: Effort
    line: Line
    judges: Sequence[Judge | None]
    hubs: Sequence[Hubs | None]
    shown: bool = True

    def part(self, some: slice) -> "Probe":
        """Return the same for some of the queries."""
        queries, judges, hubs = self.queries[some], self.judges[some], self.hubs[some]
        return replace(self, queries=queries, judges=judges, hubs=hubs)


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks of one field for one query, in no order.

    Attributes:
        ids: (n,) int64.
        cosines: (n,) float32.
        scores: (n,) float32: the cosines, corrected for hubs.
        standings: (n,) float32: by how many deviations the scores stand above the background.
        evidence: (n,) float32: log-odds by that.
        modality: What they are chunks of.
        judge: What is yet to look at the first of them, if anything is.
        shown: Whether they can be hits.
    """

    ids: NDArray[np.int64]
    cosines: FloatArray
    scores: FloatArray
    standings: FloatArray
    evidence: FloatArray
    modality: Modality
    judge: Judge | None = None
    shown: bool = True


def look(
    probes: Sequence[Probe], k: int, named: Sequence[NDArray[np.int64]]
) -> Iterator[list[Chunks]]:
    """Yield for each query the chunks of each field that its ``k`` best items can come from.

    Every item that is found in one field, or otherwise, is scored in all of them.

    Args:
        probes: Where to look, for the same queries.
        k: How many items to take from each field, if it has them.
        named: For each query (n,) int64 ids of items found otherwise.
    """
    fields = [_leading_chunks(probe, k, margin=log(len(probes))) for probe in probes]
    for number, items in enumerate(named):
        chunks = [found[number][0] for found in fields]
        if len(probes) > 1:
            items = np.unique(np.concatenate([items, *(c.ids >> CHUNK_BITS for c in chunks)]))
        yield [
            _joined(probe, number, *found[number], items)
            for probe, found in zip(probes, fields, strict=True)
        ]


def _leading_chunks(probe: Probe, k: int, margin: float) -> list[tuple[Chunks, Level]]:
    """Return for each query a field's first chunks, and its background.

    Args:
        probe: Where to look.
        k: How many items to take.
        margin: Evidence that an item below them may gain in other fields.
    """
    found = []
    background = levels(probe.background, probe.queries, probe.hubs)
    margins = [float(level.spread) * margin / probe.line.slope for level in background]
    candidates = _candidates(probe, k, margins)
    for mine, level, judge in zip(candidates, background, probe.judges, strict=True):
        standings = level.standings(mine.scores)
        evidence = probe.line.evidence(standings)
        end = max(_leading(mine.ids, evidence, k, margin), judge.depth if judge else 0)
        columns = (mine.cosines[:end], mine.scores[:end], standings[:end], evidence[:end])
        modality = probe.field.info.name.modality
        found.append((Chunks(mine.ids[:end], *columns, modality, judge, probe.shown), level))
    return found


def _joined(
    probe: Probe, number: int, chunks: Chunks, level: Level, items: NDArray[np.int64]
) -> Chunks:
    """Return a query's chunks together with those of the items that are not among them."""
    if not len(items):
        return chunks
    rows = _rows_of_items(probe, np.setdiff1d(items, chunks.ids >> CHUNK_BITS))
    if not len(rows):
        return chunks
    cosines = score_rows(probe.field, rows, probe.queries[number])
    scores = corrected(cosines, rows, probe.hubs[number])
    standings = level.standings(scores)
    return replace(
        chunks,
        ids=np.concatenate([chunks.ids, probe.field.ids[rows]]),
        cosines=np.concatenate([chunks.cosines, cosines]),
        scores=np.concatenate([chunks.scores, scores]),
        standings=np.concatenate([chunks.standings, standings]),
        evidence=np.concatenate([chunks.evidence, probe.line.evidence(standings)]),
    )


def _candidates(probe: Probe, k: int, margins: Sequence[float]) -> list[Candidates]:
    """Return a field's best chunks for each query: of ``k`` items, or all that there are.

    Args:
        probe: Where to look.
        k: How many items.
        margins: For each query how much further down its scores are to reach.
    """
    judged = max((judge.depth for judge in probe.judges if judge), default=0)
    effort = replace(probe.effort, depth=max(probe.effort.depth, _CHUNKS_PER_ITEM * k, judged))
    found = find_candidates(probe.field, probe.queries, effort, probe.allowed, probe.hubs)
    pairs = list(zip(found, margins, strict=True))
    while short := [n for n, (mine, margin) in enumerate(pairs) if _is_short(mine, k, margin)]:
        effort = replace(effort, depth=4 * effort.depth)
        queries, hubs = probe.queries[short], [probe.hubs[n] for n in short]
        more = find_candidates(probe.field, queries, effort, probe.allowed, hubs)
        for n, mine in zip(short, more, strict=True):
            pairs[n] = mine, margins[n]
    return [mine for mine, _ in pairs]


def _is_short(found: Candidates, k: int, margin: float) -> bool:
    """Whether there may be more that counts behind what was found."""
    if found.exhausted:
        return False
    at = _kth_item(found.ids, k)
    return at is None or (margin > 0 and bool(found.scores[-1] > found.scores[at] - margin))


def _leading(ids: NDArray[np.int64], evidence: FloatArray, k: int, margin: float) -> int:
    """Return how many chunks, best first, can be hits: ``k`` items leave those behind behind.

    Words raise an item further, but the items that words have found join anyway.
    """
    at = _kth_item(ids, k)
    if at is None:
        return len(ids)
    return int(np.searchsorted(-evidence, margin - evidence[at], side="right"))


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
