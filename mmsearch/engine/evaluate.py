"""Judging an index: its answers to queries of which is known what is relevant."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from mmsearch.engine.agreement import ann_recall
from mmsearch.engine.asking import Answer, ask
from mmsearch.engine.evaluation import ALL, DirectionEvaluation, Evaluation, compare, figures
from mmsearch.engine.index import Index
from mmsearch.engine.ingest import Progress
from mmsearch.engine.inputs import PathLike, modalities
from mmsearch.engine.judged import JudgedQueries, read_queries
from mmsearch.engine.naming import Naming, called
from mmsearch.engine.query import Query, sentences
from mmsearch.engine.request import Request
from mmsearch.errors import UsageError, one_line
from mmsearch.fuse import DEFAULT_SCORER
from mmsearch.metrics import (
    DEEPEST,
    Estimate,
    Measure,
    Values,
    mean_estimates,
    measure_queries,
)
from mmsearch.records import Failure, Modality
from mmsearch.search.hubs import HubCorrection
from mmsearch.sources.trec import read_run
from mmsearch.store.reader import View


def evaluate(
    index: Index,
    queries: PathLike,
    *,
    qrels: PathLike | None = None,
    target: Modality | str | Sequence[Modality | str] | None = None,
    k: int = 100,
    where: str | None = None,
    rerank: str = DEFAULT_SCORER,
    prefer: Mapping[str, float] = MappingProxyType({}),
    hubs: str = HubCorrection.NNN,
    templates: str | Sequence[str] = (),
    against: PathLike | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Ask an index queries of which is known what is relevant, and measure its answers.

    Each query is one :meth:`Index.search`, timed by itself. docs/evaluation.md says how queries
    and relevant items are written down, and defines each measure.

    Args:
        index: The index to judge.
        queries: A manifest of queries (.jsonl, .csv, .tsv).
        qrels: TREC's file of what is relevant, instead of the column ``relevant``.
        target: Modalities of the parts to be found, as for a search, and so are ``where``,
            ``rerank``, ``prefer``, ``hubs`` and ``templates``.
        k: How many hits each query is asked for, 10 or more; what lies beyond is not found.
        where: Expression over columns that items must satisfy.
        rerank: The fusion scorer.
        prefer: By column what its highest value counts.
        hubs: How scores are corrected for hubs.
        templates: Sentences with ``{}`` where the words go.
        against: A TREC ``run`` of another setting, index or program, to compare with.
        progress: Called after each query.

    Raises:
        UsageError: A file cannot be read, nothing says what is relevant, or an option makes no
            sense for a search.
    """
    if k < DEEPEST:
        raise UsageError(f"k is {k}; hit_at_10 and ndcg_at_10 look at {DEEPEST} hits")
    setting = Request(modalities(target) or (), k, where, rerank, prefer=prefer, hubs=hubs)
    judged = read_queries(queries, qrels, sentences(templates))
    other = None if against is None else _earlier_run(against, judged)
    failures: list[Failure] = []
    answers = list(ask(index, judged, setting, failures, progress or (lambda progress: None)))
    if not answers:
        raise UsageError(f"none of the queries can be asked; the first: {failures[0].reason}")
    return Evaluation(
        index=str(index.path),
        against=None if against is None else os.fsdecode(against),
        k=k,
        directions=tuple(_directions(index, answers, setting, other)),
        run={answer.asked.id: answer.found for answer in answers},
        failures=(*judged.failures, *failures),
        unjudged=judged.unjudged,
        unasked=judged.unasked,
        absent=tuple(_absent(index, Naming(judged.folder), answers)),
        unanswered=0 if other is None else sum(a.asked.id not in other for a in answers),
    )


def _earlier_run(path: PathLike, judged: JudgedQueries) -> Mapping[str, Sequence[str]]:
    run = read_run(path)
    if not any(asked.id in run for asked in judged.queries):
        name = one_line(os.fsdecode(path))
        raise UsageError(f"{name}: answers none of the queries; do the ids agree?")
    return run


def _directions(
    index: Index,
    answers: Sequence[Answer],
    setting: Request,
    other: Mapping[str, Sequence[str]] | None,
) -> Iterator[DirectionEvaluation]:
    """Yield the figures of each direction, and of all together if there are several."""
    names = sorted({answer.direction for answer in answers})
    for name in names:
        some = [answer for answer in answers if answer.direction == name]
        found = _ann_recall(index, [answer.asked.query for answer in some], setting)
        yield _direction(name, some, setting.k, found, other)
    if len(names) > 1:
        yield _direction(ALL, answers, setting.k, None, other)


def _direction(
    name: str,
    answers: Sequence[Answer],
    k: int,
    ann_recall_at_10: Estimate | None,
    other: Mapping[str, Sequence[str]] | None,
) -> DirectionEvaluation:
    ids = tuple(answer.asked.id for answer in answers)
    ours = figures(_measured(answers, [[name for name, _ in a.found] for a in answers], k))
    theirs = None if other is None else _measured(answers, [other.get(i, []) for i in ids], k)
    return DirectionEvaluation(
        direction=name,
        queries=ids,
        figures=ours,
        ann_recall_at_10=ann_recall_at_10,
        ms=np.array([answer.ms for answer in answers]),
        against=None if theirs is None else compare(ours, theirs),
    )


def _measured(
    answers: Sequence[Answer], ranked: Sequence[Sequence[str]], k: int
) -> dict[Measure, Values]:
    return measure_queries(ranked, [answer.asked.relevant for answer in answers], k)


def _ann_recall(index: Index, queries: Sequence[Query], setting: Request) -> Estimate | None:
    shares = ann_recall(index, queries, setting.targets, setting.where)
    return mean_estimates(shares[:, None])[0] if len(shares) else None


def _absent(index: Index, naming: Naming, answers: Sequence[Answer]) -> list[str]:
    """Return the relevant items that the index does not hold, by name."""
    found = {name for answer in answers for name, _ in answer.found}
    absent = {name for answer in answers for name in answer.asked.relevant} - found
    if absent:
        held = index._from_one_commit(
            lambda view, _: _held(view, naming.places(absent)), looks_up=False
        )
        absent -= held
    return sorted(absent)


def _held(view: View, places: Mapping[str, str]) -> set[str]:
    """Of some names those of items in the index: a pass over all items."""
    items = (stored.item for stored in view.snapshot.items())
    return {places[each] for item in items for each in called(item) if each in places}
