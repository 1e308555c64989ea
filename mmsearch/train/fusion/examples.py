"""Judged queries become examples: what the default scorer finds, and what of it is right."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.embedding import alike, embed_many
from mmsearch.engine.fusing import Found, first_candidates
from mmsearch.engine.index import Index
from mmsearch.engine.judged import JudgedQueries, JudgedQuery
from mmsearch.engine.naming import Naming, called
from mmsearch.engine.opened import BATCH
from mmsearch.engine.request import Request
from mmsearch.errors import DecodeError
from mmsearch.fuse import Shares
from mmsearch.fuse.candidates import Candidates
from mmsearch.fuse.learned import Learned
from mmsearch.records import Failure
from mmsearch.store.batches import batches
from mmsearch.store.reader import View

MOST = 10_000
"""Queries to learn from; with embeddings they take 0.3 GB of memory."""
LEAST = 100
"""Of one direction: with fewer nothing is learned about it."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Example:
    """A query that has relevant items among its first candidates.

    Attributes:
        direction: What it asks with, and what it searches: ``text->image``.
        relevant: The grades of all relevant items by id.
        candidates: What the default scorer puts first.
        grades: (n,) int64 of the candidates, 0 for what is not relevant.
    """

    direction: str
    relevant: Mapping[int, int]
    candidates: Candidates
    grades: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Examples:
    """What there is to learn from.

    Attributes:
        found: The examples.
        failures: Queries that cannot be decoded, and why.
        hidden: How many queries have no relevant item among their first candidates.
        rare: How many are left out because there are fewer than 100 of their direction.
    """

    found: list[Example]
    failures: list[Failure]
    hidden: int
    rare: int


def collect(index: Index, judged: JudgedQueries, request: Request, tell: Tell) -> Examples:
    """Ask the queries, by the default scorer.

    Args:
        index: Where to look.
        judged: The queries; those that ask the same become one.
        request: What is to be found, by a learned scorer.
        tell: Called with a line for each thousand queries.
    """
    queries = _merged(judged.queries)
    ids = _item_ids(index, judged, queries)
    failures: list[Failure] = []

    def failed(number: int, error: DecodeError) -> None:
        failures.append(Failure(judged.source, str(error), queries[number].id))

    model = index.model
    vectors = embed_many([one.query for one in queries], model, failed)
    found: list[Example] = []
    asked = 0
    for kind in alike([one.query for one in queries], vectors):
        for some in batches(kind, BATCH):
            mine = [queries[n] for n in some]
            recorder = _Recorder(
                [_relevant(one, ids) for one in mine], embedded=request.rerank == Learned.ATTENTION
            )
            index._search_embedded(
                model,
                [one.query for one in mine],
                [vectors[n] for n in some],
                request,
                recorder,
            )
            found += recorder.examples.values()
            asked += len(some)
            tell(f"asked {asked:,} of {len(vectors):,} queries")
    counts = Counter(example.direction for example in found)
    frequent = [example for example in found if counts[example.direction] >= LEAST]
    return Examples(frequent, failures, asked - len(found), len(found) - len(frequent))


class _Recorder:
    """Gives default scores, and keeps what they were made of."""

    def __init__(self, relevant: Sequence[Mapping[int, int]], *, embedded: bool) -> None:
        self._relevant, self._embedded = relevant, embedded
        self.examples: dict[int, Example] = {}  # by number: a search may be repeated

    def __call__(self, found: Found) -> Shares:
        relevant = self._relevant[found.number]
        if len(found.items.ids):
            first, candidates = first_candidates(found, embedded=self._embedded)
            ids = found.items.ids[first].tolist()
            grades = np.array([relevant.get(item_id, 0) for item_id in ids])
            if grades.any():
                example = Example(found.direction, relevant, candidates, grades)
                self.examples[found.number] = example
        return found.convex


def _merged(queries: Sequence[JudgedQuery]) -> list[JudgedQuery]:
    """Put rows that ask the same together: a log has one for each item that was chosen."""
    merged: dict[str, JudgedQuery] = {}
    for one in queries:
        key = repr(one.query.inputs)
        known = merged.get(key, one)
        merged[key] = replace(known, grades={**known.grades, **one.grades})
    found = list(merged.values())
    if len(found) <= MOST:
        return found
    drawn = np.random.default_rng(0).choice(len(found), MOST, replace=False)
    return [found[n] for n in np.sort(drawn)]


def _item_ids(
    index: Index, judged: JudgedQueries, queries: Sequence[JudgedQuery]
) -> Mapping[str, list[int]]:
    """Return the ids of the items that each relevant name means: a pass over all items."""
    places = Naming(judged.folder).places({name for one in queries for name in one.relevant})

    def held(view: View, _: object) -> Mapping[str, list[int]]:
        ids: dict[str, list[int]] = defaultdict(list)
        for stored in view.snapshot.items():
            name = next((places[each] for each in called(stored.item) if each in places), None)
            if name is not None:
                ids[name].append(stored.id)
        return ids

    return index._from_one_commit(held, looks_up=False)


def _relevant(one: JudgedQuery, ids: Mapping[str, list[int]]) -> Mapping[int, int]:
    return {i: grade for name, grade in one.relevant.items() for i in ids.get(name, ())}
