"""Looking into the fields of an index: the chunks that a query's best items can come from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray, Modality
from mmsearch.search.dense import Candidates, find_candidates, propose, score_rows
from mmsearch.search.effort import Effort
from mmsearch.search.evidence import Line, gained
from mmsearch.search.hubs import Hubs, corrected
from mmsearch.search.standing import Level, levels
from mmsearch.store.field import Field
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.reader import Background
from mmsearch.store.selection import Selection

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
        proposed: For each query the rows that codes propose, if they do; see :func:`begun`.
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
    proposed: NDArray[np.int64] | None = None

    def part(self, some: slice) -> "Probe":
        """Return the same for some of the queries."""
        return replace(
            self,
            queries=self.queries[some],
            judges=self.judges[some],
            hubs=self.hubs[some],
            proposed=None if self.proposed is None else self.proposed[some],
        )


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


def begun(probe: Probe, k: int) -> Probe:
    """Return a probe for :func:`look`: as deep as so many items need, and codes have been asked.

    Codes are asked once for all queries, which costs less than asking for some at a time.

    Args:
        probe: Where to look.
        k: How many items are to be taken from the field, if it has them.
    """
    judged = max((judge.depth for judge in probe.judges if judge), default=0)
    depth = max(probe.effort.depth, _CHUNKS_PER_ITEM * k, judged)
    effort = replace(probe.effort, depth=depth)
    proposed = propose(probe.field, probe.queries, effort, probe.allowed)
    return replace(probe, effort=effort, proposed=proposed)


def look(
    probes: Sequence[Probe], k: int, named: Sequence[NDArray[np.int64]]
) -> Iterator[list[Chunks]]:
    """Yield for each query the chunks of each field that its ``k`` best items can come from.

    Every item that is found in one field, or otherwise, is scored in all of them.

    Args:
        probes: Where to look, for the same queries, begun.
        k: How many items to take from each field, if it has them.
        named: For each query (n,) int64 ids of items found otherwise.
    """
    views = [_View(probe, k) for probe in probes]
    gains = gained(np.array([view.kth_evidence() for view in views], np.float32))
    margins = np.maximum(gains.sum(axis=0) - gains, 0)
    fields = [view.leading(margin) for view, margin in zip(views, margins, strict=True)]
    for number, items in enumerate(named):
        chunks = [found[number][0] for found in fields]
        if len(probes) > 1:
            items = np.unique(np.concatenate([items, *(c.ids >> CHUNK_BITS for c in chunks)]))
        yield [
            _joined(probe, number, *found[number], items)
            for probe, found in zip(probes, fields, strict=True)
        ]


class _View:
    """What is seen of one field, for each query: its background, and its first chunks."""

    def __init__(self, probe: Probe, k: int) -> None:
        """Look for the chunks of ``k`` items, or all that there are."""
        self._probe, self._k = probe, k
        self._levels = levels(probe.background, probe.queries, probe.hubs)
        self._depth = probe.effort.depth
        self._found = self._search(range(len(probe.queries)), probe.proposed)
        self._deepen(np.zeros(len(self._found), np.float32))

    def kth_evidence(self) -> list[float]:
        """Return for each query the evidence of its last item; none is -inf."""
        places = [_kth_item(found.ids, self._k) for found in self._found]
        return [
            -np.inf if at is None else float(self._evidence(level, found.scores[at : at + 1])[0])
            for at, level, found in zip(places, self._levels, self._found, strict=True)
        ]

    def leading(self, margins: FloatArray) -> list[tuple[Chunks, Level]]:
        """Return for each query the first chunks, and the background.

        Args:
            margins: (queries,) float32, the evidence that an item below the last may gain in other
                fields.
        """
        self._deepen(margins)
        found, probe = [], self._probe
        modality = probe.field.info.name.modality
        pairs = zip(self._found, self._levels, probe.judges, margins.tolist(), strict=True)
        for mine, level, judge, margin in pairs:
            standings = level.standings(mine.scores)
            evidence = probe.line.evidence(standings)
            end = max(_leading(mine.ids, evidence, self._k, margin), judge.depth if judge else 0)
            columns = (mine.cosines[:end], mine.scores[:end], standings[:end], evidence[:end])
            found.append((Chunks(mine.ids[:end], *columns, modality, judge, probe.shown), level))
        return found

    def _evidence(self, level: Level, scores: FloatArray) -> FloatArray:
        return self._probe.line.evidence(level.standings(scores))

    def _search(
        self, some: Sequence[int], proposed: NDArray[np.int64] | None = None
    ) -> list[Candidates]:
        probe, effort = self._probe, replace(self._probe.effort, depth=self._depth)
        queries, hubs = probe.queries[some], [probe.hubs[n] for n in some]
        return find_candidates(probe.field, queries, effort, probe.allowed, hubs, proposed)

    def _deepen(self, margins: FloatArray) -> None:
        """Look for more where there may be more that counts."""
        scaled = [
            float(level.spread) * margin / self._probe.line.slope
            for level, margin in zip(self._levels, margins.tolist(), strict=True)
        ]
        while short := [
            n for n, found in enumerate(self._found) if _is_short(found, self._k, scaled[n])
        ]:
            self._depth *= 4
            for n, found in zip(short, self._search(short), strict=True):
                self._found[n] = found


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
