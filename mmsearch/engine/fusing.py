"""Scoring what a query has found, by a fixed scorer or one that was fitted to the index."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode.heads import unit
from mmsearch.encode.itm import PREFIX
from mmsearch.engine.request import Asked, Request
from mmsearch.errors import UsageError
from mmsearch.fuse import SCORERS, Shares, Signals, convex, scores
from mmsearch.fuse.candidates import (
    DEPTH,
    EMBEDDED,
    MATCHED,
    RIVALS,
    Candidates,
    put_first,
    put_in_order,
    signal_rows,
)
from mmsearch.fuse.learned import Learned, learned_share
from mmsearch.records import FloatArray, Modality
from mmsearch.search.pool import Items, Pool
from mmsearch.search.probing import Probe
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.reader import View
from mmsearch.store.scorers import StoredScorer


@dataclass(frozen=True, slots=True)
class Words:
    """What the words of one query have found.

    Attributes:
        scores: By item id BM25 as a share of the query's best possible.
        unfound: What other texts may have: nothing, unless no more were looked for.
    """

    scores: Mapping[int, float]
    unfound: float = 0.0


@dataclass(frozen=True)
class Found:
    """What one query of several has found.

    Attributes:
        number: Which it is of them.
        asked: The query.
        targets: Modalities that are searched.
        probes: Where was looked.
        pool: The chunks.
        items: Those that can be hits.
        signals: Of the items.
        matched: (n,) float32: log-odds by a cross-encoder; NaN of items that it has not looked at.
    """

    number: int
    asked: Asked
    targets: Sequence[Modality]
    probes: Sequence[Probe]
    pool: Pool
    items: Items
    signals: Signals
    matched: FloatArray | None = None

    @staticmethod
    def of(
        number: int,
        asked: Asked,
        request: Request,
        probes: Sequence[Probe],
        pool: Pool,
        words: Words,
        worded: NDArray[np.bool_],
    ) -> "Found":
        """Put the items of a pool together with what words say of some of them, by id.

        ``worded`` says for each item id whether it has a text with a vector.
        """
        items = pool.items()
        lexical = np.zeros(len(items.ids), np.float32)
        if words.scores:
            lexical[:] = [words.scores.get(i, 0.0) for i in items.ids.tolist()]
        own = pool.evidence[items.places]
        whole = not asked.is_composed
        signals = Signals(own, items.evidence, lexical, worded[items.ids], words.unfound, whole)
        return Found(number, asked, request.targets, probes, pool, items, signals)

    @cached_property
    def convex(self) -> Shares:
        """The default scores: what they are the sum of."""
        return convex(self.signals)

    @cached_property
    def log_odds(self) -> FloatArray:
        """The default scores, (n,) float32."""
        return scores(self.convex)

    @cached_property
    def ranked(self) -> NDArray[np.int64]:
        """Places of the items by the default scores, the best first."""
        return np.lexsort((self.items.ids, -self.log_odds))

    @property
    def gallery(self) -> int:
        """Among how many vectors was searched."""
        return sum(probe.allowed.count for probe in self.probes if probe.shown)

    @property
    def direction(self) -> str:
        """What was asked with, and what was searched: ``text->image``."""
        return "->".join("+".join(sorted(side)) for side in (self.asked.modalities, self.targets))


Scoring: TypeAlias = Callable[[Found], Shares]
"""Gives scores to the items that were found: what they are the sum of."""


def scoring(view: View, name: str) -> Scoring:
    """Return what gives the scores that a request asks for.

    Raises:
        UsageError: It asks for a scorer that the index has not got.
    """
    if SCORERS.get(name) is convex:
        return lambda found: found.convex
    if name in SCORERS:
        return lambda found: SCORERS[name](found.signals)
    if name.startswith(PREFIX):
        return _by_matches
    scorer = view.state.scorers.get(name)
    if scorer is None:
        raise UsageError(
            f"{view.folder}: this index has no {name} scorer; "
            "train one with `mmsearch train fusion`"
        )
    return partial(_learned, scorer)


def _learned(scorer: StoredScorer, found: Found) -> Shares:
    """Scores by a learned scorer; the default's where it was not trained for such queries."""
    is_known = found.direction in scorer.info.directions and not found.asked.unwanted
    if not is_known or not len(found.items.ids):
        return found.convex
    kind = Learned(scorer.info.name)
    first, candidates = first_candidates(found, embedded=kind is Learned.ATTENTION)
    added = learned_share(kind, scorer.arrays, candidates)
    return {**found.convex, "learned": put_first(found.log_odds, first, added)}


def matched(view: View, found: Found) -> Found:
    """Return what was found, its first items looked at by the cross-encoder of the query, if any.

    An item is looked at by its best picture, or text, whichever part is shown.
    """
    matching = found.asked.matching
    if matching is None or not len(found.items.ids):
        return found
    first = found.ranked[:MATCHED]
    places = _parts(found.pool, found.items.ids[first])[:, [*Modality].index(matching.searched)]
    there = places >= 0
    log_odds = np.full(len(found.items.ids), np.nan, np.float32)
    log_odds[first[there]] = matching.log_odds(view, found.pool.chunk_ids[places[there]])
    return replace(found, matched=log_odds)


def _by_matches(found: Found) -> Shares:
    """The default's scores, of which those that were looked at change places.

    Their order is that of score and match together, as in BLIP's own evaluation (train_retrieval.py
    adds the similarity to the logit of a match); here both are log-odds.
    """
    if found.matched is None:
        return found.convex
    some = found.ranked[np.isfinite(found.matched[found.ranked])]
    return {**found.convex, PREFIX: put_in_order(found.log_odds, some, found.matched[some])}


def first_candidates(found: Found, *, embedded: bool) -> tuple[NDArray[np.int64], Candidates]:
    """Return which of the items come first by the default score, and what is known of them.

    Args:
        found: The items.
        embedded: Whether embeddings are to be looked at.
    """
    pool, first = found.pool, found.ranked[: EMBEDDED if embedded else DEPTH]
    places, parts = found.items.places[first], _parts(pool, found.items.ids[first])
    signals = signal_rows(
        found.log_odds[first],
        found.convex["words"][first],
        found.signals.lexical[first],
        np.where(parts < 0, -np.inf, pool.evidence[parts]),
        np.column_stack([pool.cosines[places], pool.hubness[places], pool.judged[places]]),
        found.gallery,
    )
    likeness = _likeness(found, parts, RIVALS if embedded else 0)
    return first, Candidates(found.log_odds[first], signals, likeness)


def _parts(pool: Pool, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where in the pool the best chunk of each modality is, (n, 3); -1 without one."""
    order = np.argsort(items)
    rising = np.argsort(pool.evidence)  # of several chunks the last one stays
    owners = pool.chunk_ids[rising] >> CHUNK_BITS
    rows = order[np.searchsorted(items[order], owners) % len(items)]
    kept = items[rows] == owners
    parts = np.full((len(items), len(Modality)), -1, np.int64)
    parts[rows[kept], pool.modalities[rising[kept]]] = rising[kept]
    return parts


def _likeness(found: Found, parts: NDArray[np.int64], rivals: int) -> NDArray[np.float16]:
    """Return how alike parts of items are, (3, n, r): the cosines of their best chunks.

    Where texts have vectors in two spaces, the first that was looked into counts.

    Args:
        found: What was found.
        parts: (n, 3), see :func:`_parts`.
        rivals: With how many of the first items all are compared.
    """
    likeness = np.zeros((len(Modality), len(parts), min(len(parts), rivals)), np.float16)
    fields = {p.field.info.name.modality: p.field for p in reversed(found.probes)}
    for number, modality in enumerate(Modality):
        mine = np.flatnonzero(parts[:, number] >= 0)
        if rivals and len(mine):
            field, chunk_ids = fields[modality], found.pool.chunk_ids[parts[mine, number]]
            held = np.isin(chunk_ids, field.ids)
            mine, vectors = mine[held], unit(field.gather(field.find(chunk_ids[held])))
            first = mine < rivals
            cosines = np.vecdot(vectors[:, None], vectors[first])  # BLAS would wake its threads
            likeness[number][np.ix_(mine, mine[first])] = cosines.astype(np.float16)
    return likeness
