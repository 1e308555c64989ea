"""Asking judged queries: one search each, timed by itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmsearch.engine.evaluation import ALL
from mmsearch.engine.index import Index
from mmsearch.engine.ingest import Progress
from mmsearch.engine.judged import JudgedQueries, JudgedQuery
from mmsearch.engine.naming import Naming
from mmsearch.engine.request import Request
from mmsearch.errors import DecodeError
from mmsearch.records import Failure, Hit
from mmsearch.sources.trec import Ranked


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query was answered.

    Attributes:
        asked: The query.
        direction: What it was asked with, and what was to be found.
        found: Names and scores, best first.
        ms: What it took.
    """

    asked: JudgedQuery
    direction: str
    found: Ranked
    ms: float


def ask(
    index: Index,
    judged: JudgedQueries,
    request: Request,
    failures: list[Failure],
    progress: Callable[[Progress], None],
) -> Iterator[Answer]:
    """Ask one query after the other; what cannot be decoded is added to ``failures``."""
    naming, warm = Naming(judged.folder), set()
    for number, asked in enumerate(judged.queries, start=1):
        direction = f"{'+'.join(asked.query.inputs)}->{'+'.join(request.targets or [ALL])}"
        try:
            if direction not in warm:  # the first query of a kind loads its network and vectors
                index._search([asked.query], request)
                warm.add(direction)
            started = time.perf_counter()
            (hits,) = index._search([asked.query], request)
            ms = 1000 * (time.perf_counter() - started)
            yield Answer(asked, direction, _ranked(hits, asked, naming), ms)
        except DecodeError as error:
            failures.append(Failure(judged.source, str(error), asked.id))
        progress(Progress(number, number - len(failures), len(failures)))


def _ranked(hits: Sequence[Hit], asked: JudgedQuery, naming: Naming) -> Ranked:
    """Return names and scores; a name that several items share stands at the best one's rank."""
    places = naming.places(asked.grades)
    scores: dict[str, float] = {}
    for hit in hits:
        scores.setdefault(naming.name(hit.item, places), hit.score)
    return tuple(scores.items())
