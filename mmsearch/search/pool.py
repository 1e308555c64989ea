"""The pool of one search: chunks of all fields, and the items that they speak for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray, Modality
from mmsearch.search.evidence import gained
from mmsearch.search.probing import Chunks
from mmsearch.store.metadata import CHUNK_BITS

_MODALITIES = tuple(Modality)


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a pool.

    Attributes:
        ids: (m,) int64, ascending.
        evidence: (m,) float32: log-odds that the item, or any of its parts, is relevant.
        places: (m,) int64: where in the pool the item's best chunk is that can be a hit.
    """

    ids: NDArray[np.int64]
    evidence: FloatArray
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pool:
    """Chunks of all fields that can be what is found; parallel arrays, in no order.

    Attributes:
        chunk_ids: (n,) int64.
        cosines: (n,) float32.
        hubness: (n,) float32: what was subtracted from the cosines.
        judged: (n,) float32: what a judge has added to them; 0 for what it has not seen.
        standings: (n,) float32: deviations above the background, before judging.
        evidence: (n,) float32: log-odds.
        modalities: (n,) int64: what each is a chunk of, by number.
        shown: (n,) bool: whether it can be a hit.
    """

    chunk_ids: NDArray[np.int64]
    cosines: FloatArray
    hubness: FloatArray
    judged: FloatArray
    standings: FloatArray
    evidence: FloatArray
    modalities: NDArray[np.int64]
    shown: NDArray[np.bool_]

    def items(self) -> Items:
        """Return the items that have a chunk that can be a hit.

        In each modality an item counts by its best chunk, in whatever space. The best part counts
        in full, and each other one adds ``OTHERS · ln(1 + exp(evidence))``: what speaks for the
        item adds up, and a part that does not takes nothing away.
        """
        owners = self.chunk_ids >> CHUNK_BITS
        order = np.lexsort((self.chunk_ids, -self.evidence, self.modalities, owners))
        best = order[_first(owners[order], self.modalities[order])]
        starts = np.flatnonzero(_first(owners[best]))
        evidence = _together(self.evidence[best], starts)
        by_shown = np.lexsort(
            (self.chunk_ids[best], -self.evidence[best], ~self.shown[best], owners[best])
        )
        places = best[by_shown][starts]
        kept = self.shown[places]
        return Items(owners[places][kept], evidence[kept], places[kept])


def _together(evidence: FloatArray, starts: NDArray[np.int64]) -> FloatArray:
    """Return the evidence of items whose parts' evidence starts at some places."""
    if not len(evidence):
        return evidence
    most, gains = np.maximum.reduceat(evidence, starts), gained(evidence)
    return most + np.add.reduceat(gains, starts) - np.maximum.reduceat(gains, starts)


def _first(*sorted_keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of some rows, sorted by their keys, differ from the one before."""
    changes = [keys[1:] != keys[:-1] for keys in sorted_keys]
    return np.append(np.ones(min(1, len(sorted_keys[0])), bool), np.any(changes, axis=0))


def pooled(fields: Sequence[Chunks]) -> Pool:
    """Judge a query's chunks of each field, and put those of all fields together."""
    columns = zip(*map(_judged, fields), strict=True)
    return Pool(*map(np.concatenate, columns))


def _judged(chunks: Chunks) -> tuple[NDArray[Any], ...]:
    """Return the columns of a pool for one field: a judge adds to the first candidates.

    The judged keep their evidence among them, the best judged the highest: so they stay before
    those that were not judged, and other fields' candidates compare with them as before.
    """
    ids, scores, evidence = chunks.ids, chunks.scores, chunks.evidence
    added = np.zeros(len(ids), np.float32)
    if chunks.judge is not None and len(ids):
        first = np.lexsort((ids, -scores))[: chunks.judge.depth]
        added[first] = chunks.judge.look(ids[first])
        best = np.argsort(-(scores + added)[first], kind="stable")
        evidence = evidence.copy()
        evidence[first[best]] = chunks.evidence[first]
    numbers = np.full(len(ids), _MODALITIES.index(chunks.modality))
    shown = np.full(len(ids), chunks.shown)
    hubness = chunks.cosines - scores
    return ids, chunks.cosines, hubness, added, chunks.standings, evidence, numbers, shown


def best_words(scored: Sequence[tuple[int, float]]) -> Mapping[int, float]:
    """Return each item's best lexical score from (chunk id, score) pairs."""
    best: dict[int, float] = {}
    for chunk_id, score in scored:
        item_id = chunk_id >> CHUNK_BITS
        best[item_id] = max(score, best.get(item_id, 0.0))
    return best
