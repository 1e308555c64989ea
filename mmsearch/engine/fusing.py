"""Scoring what a query has found, by a fixed scorer or one that was fitted to the index."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode.heads import unit
from mmsearch.engine.request import Asked, Request
from mmsearch.errors import UsageError
from mmsearch.fuse import DEFAULT_SCORER, SCORERS, Signals
from mmsearch.fuse.candidates import (
    BLOCKS,
    DEPTH,
    EMBEDDED,
    RIVALS,
    Candidates,
    block_products,
    put_first,
    signal_rows,
)
from mmsearch.fuse.learned import Learned, learned_scores
from mmsearch.records import FloatArray, Modality
from mmsearch.search.pool import Items, Pool
from mmsearch.search.probing import Probe
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.reader import View
from mmsearch.store.scorers import StoredScorer


@dataclass(frozen=True, slots=True)
class Found:
    """What one query of several has found.

    Attributes:
        number: Which it is of them.
        asked: The query.
        targets: Modalities that are searched.
        probes: Where was looked, in the order of the pool's fields.
        pool: The chunks.
        items: Those that can be hits.
        signals: Of the items.
    """

    number: int
    asked: Asked
    targets: Sequence[Modality]
    probes: Sequence[Probe]
    pool: Pool
    items: Items
    signals: Signals

    @staticmethod
    def of(
        number: int,
        asked: Asked,
        request: Request,
        probes: Sequence[Probe],
        pool: Pool,
        words: Mapping[int, float],
    ) -> "Found":
        """Put the items of a pool together with what words say of some of them, by id."""
        items = pool.items()
        lexical = np.zeros(len(items.ids), np.float32)
        if words:
            lexical[:] = [words.get(i, 0.0) for i in items.ids.tolist()]
        signals = Signals(items.evidence, lexical)
        return Found(number, asked, request.targets, probes, pool, items, signals)

    @property
    def gallery(self) -> int:
        """Among how many vectors was searched."""
        return sum(probe.allowed.count for probe in self.probes if probe.shown)

    @property
    def direction(self) -> str:
        """What was asked with, and what was searched: ``text->image``."""
        return "->".join("+".join(sorted(side)) for side in (self.asked.modalities, self.targets))


Scoring: TypeAlias = Callable[[Found], FloatArray]
"""Gives scores to the items that were found, (n,) float32."""


def scoring(view: View, name: str) -> Scoring:
    """Return what gives the scores that a request asks for.

    Raises:
        UsageError: It asks for a scorer that the index has not got.
    """
    if name in SCORERS:
        return lambda found: SCORERS[name](found.signals)
    scorer = view.state.scorers.get(name)
    if scorer is None:
        raise UsageError(
            f"{view.folder}: this index has no {name} scorer; "
            "train one with `mmsearch train fusion`"
        )
    return partial(_learned, scorer)


def _learned(scorer: StoredScorer, found: Found) -> FloatArray:
    """Scores by a learned scorer; the default's where it was not trained for such queries."""
    scores = SCORERS[DEFAULT_SCORER](found.signals)
    if found.direction not in scorer.info.directions or not len(scores):
        return scores
    kind = Learned(scorer.info.name)
    first, candidates = first_candidates(found, embedded=kind is Learned.ATTENTION)
    return put_first(scores, first, learned_scores(kind, scorer.arrays, candidates))


def first_candidates(found: Found, *, embedded: bool) -> tuple[NDArray[np.int64], Candidates]:
    """Return which of the items come first by the default score, and what is known of them.

    Args:
        found: The items.
        embedded: Whether embeddings are to be looked at.
    """
    scores = SCORERS[DEFAULT_SCORER](found.signals)
    first = np.lexsort((found.items.ids, -scores))[:DEPTH]
    places, pool = found.items.places[first], found.pool
    signals = signal_rows(
        scores[first],
        (scores - found.signals.evidence)[first],
        found.signals.lexical[first],
        _parts(found, found.items.ids[first]),
        np.column_stack([pool.cosines[places], pool.hubness[places], pool.judged[places]]),
        found.gallery,
    )
    seen = places[: EMBEDDED if embedded else 0]
    return first, Candidates(scores[first], signals, *_embedded(found, seen))


def _parts(found: Found, items: NDArray[np.int64]) -> FloatArray:
    """Return the evidence of items by the modality of their parts, (n, 3); -inf without one."""
    order = np.argsort(items)
    owners = found.pool.chunk_ids >> CHUNK_BITS
    at = np.searchsorted(items[order], owners) % len(items)
    rows = order[at]
    kept = items[rows] == owners
    modalities = list(Modality)
    columns = np.array([modalities.index(p.field.info.name.modality) for p in found.probes])
    parts = np.full((len(items), len(modalities)), -np.inf, np.float32)
    where = rows[kept], columns[found.pool.fields[kept]]
    np.maximum.at(parts, where, found.pool.evidence[kept])
    return parts


def _embedded(found: Found, places: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return the products with the query (m, 32) and the likeness (m, r) of some chunks."""
    products = np.zeros((len(places), BLOCKS), np.float32)
    likeness = np.zeros((len(places), len(places)), np.float32)
    seen: list[tuple[str, NDArray[np.int64], FloatArray]] = []
    for number, probe in enumerate(found.probes):
        mine = np.flatnonzero(found.pool.fields[places] == number)
        if len(mine):
            rows = probe.field.find(found.pool.chunk_ids[places[mine]])
            vectors = probe.field.gather(rows)
            products[mine] = block_products(vectors, probe.queries[found.number])
            seen.append((probe.field.info.name.space, mine, unit(vectors)))
    for (space, mine, vectors), (other, theirs, others) in product(seen, seen):
        if space == other:
            likeness[np.ix_(mine, theirs)] = vectors @ others.T
    return products, likeness[:, :RIVALS]
