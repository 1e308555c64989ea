"""`Index.tune`: how each field is searched for each kind of query, so that a promise is kept."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode import Model
from mmsearch.engine.bank import queries as bank_queries
from mmsearch.engine.embedding import embed_many, pointed
from mmsearch.engine.query import Query
from mmsearch.errors import UsageError
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.effort import effort, hubs_of, tunings_of
from mmsearch.search.tuning import (
    REACHES,
    K,
    Measured,
    cheapest,
    curve,
    exact,
    measure,
    seconds_of,
)
from mmsearch.store.field import Field
from mmsearch.store.manifest import FieldInfo, Point, Tuning
from mmsearch.store.reader import View
from mmsearch.store.writer import Writer

QUERIES = 2_000
"""To choose by, and as many others to promise on."""
LEAST_QUERIES = 200
"""Of either: with fewer, a promise could be off by more than 0.02."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning, or a check of it, has found for one field and one kind of query.

    Attributes:
        field: What is searched.
        asked: The modality of the queries.
        recipe: How the field is indexed.
        tuning: How it is searched for them; ``None`` where nothing keeps the target.
        ann_recall: Measured now: with the tuning, or the best of all that was tried.
        ms: Milliseconds of a single query, its candidates' exact scores included.
    """

    field: FieldName
    asked: Modality
    recipe: str
    tuning: Tuning | None
    ann_recall: float
    ms: float


@dataclass(frozen=True, slots=True)
class _Direction:
    """One kind of query to one field, with what exact search finds.

    Attributes:
        name: The field's name.
        field: What is searched.
        asked: The modality of the queries.
        vectors: (n, dim) float32, the queries.
        truth: (n, 10) int64, the rows of the exact nearest.
    """

    name: FieldName
    field: Field
    asked: Modality
    vectors: FloatArray
    truth: NDArray[np.int64]


class Tuner:
    """One run of `Index.tune`.

    Args:
        view: One commit of the index.
        model: Its model.
        texts: Text queries; the reference bank's by default.
        seed: Of the choice of queries.
        progress: Called with a line for each direction that is begun.
    """

    def __init__(
        self,
        view: View,
        model: Model,
        texts: Sequence[str] | None,
        seed: int,
        progress: Callable[[str], None] | None,
    ) -> None:
        self._view, self._model, self._seed = view, model, seed
        self._texts = list(dict.fromkeys(texts)) if texts else bank_queries(2 * QUERIES, seed)
        if len(self._texts) < 2 * LEAST_QUERIES:
            raise UsageError(f"{len(self._texts)} queries are too few: give {2 * LEAST_QUERIES}")
        self._progress = progress or (lambda line: None)

    def run(self, target: float, others: Sequence[FieldInfo] = ()) -> list[Tuned]:
        """Find for each direction the cheapest effort that keeps a target (ann_recall_at_10).

        Args:
            target: What to keep.
            others: The same fields with other codes. Of all codes of a field those are taken that
                keep the target for most of its directions, and among them the fastest.
        """
        directions = self._directions(lambda field, asked: True)
        found = []
        for name, some in groupby(directions, key=lambda one: one.name):
            present = list(some)
            tried = [[self._tune(one, target) for one in present]]
            for info in (info for info in others if info.name == name):
                self._progress(f"{name} as {info.recipe}")
                field = present[0].field.with_codes(info)
                tried.append([self._tune(replace(one, field=field), target) for one in present])
            found += min(tried, key=_cost)
        return found

    def check(self) -> list[Tuned]:
        """Measure what the tunings that are in force find now."""

        def has_tuning(field: Field, asked: Modality) -> bool:
            return any(tuning.asked == asked for tuning in tunings_of(field))

        return [self._check(one) for one in self._directions(has_tuning)]

    def _directions(self, wanted: Callable[[Field, Modality], bool]) -> Iterator[_Direction]:
        for name, field in sorted(self._view.state.fields.items()):
            for asked in Modality if field.info.codebook else ():
                if FieldName(name.space, asked) in self._model.fields(asked) and wanted(
                    field, asked
                ):
                    yield from self._direction(name, field, asked)

    def _direction(self, name: FieldName, field: Field, asked: Modality) -> Iterator[_Direction]:
        vectors, own = self._queries(name, asked)
        if not len(vectors):
            return
        self._progress(f"{asked} to {name}: {field.rows:,} vectors, {field.info.recipe}")
        found = exact(field, vectors, K + 1, self._view.alive(name), hubs_of(field, [asked]))
        yield _Direction(name, field, asked, vectors, _others(found, own))

    def _queries(
        self, name: FieldName, asked: Modality
    ) -> tuple[FloatArray, NDArray[np.int64] | None]:
        """The queries of a direction, and which rows of the field they are themselves, if any."""
        if asked is Modality.TEXT:
            texts = embed_many([Query(text) for text in self._texts], self._model)
            return np.stack([pointed(terms)[name.space] for terms in texts.values()]), None
        source = FieldName(name.space, asked)
        field = self._view.state.fields.get(source)
        if field is None or self._view.alive(source).count < 2 * LEAST_QUERIES:
            return np.empty((0, 0), np.float32), None
        live = self._view.alive(source).rows
        rng = np.random.default_rng(self._seed)
        rows = rng.choice(live, min(len(live), 2 * QUERIES), replace=False)
        return field.gather(rows), rows if source == name else None

    def _tune(self, one: _Direction, target: float) -> Tuned:
        field, allowed = one.field, self._view.alive(one.name)
        half = len(one.vectors) // 2
        vectors, truth = one.vectors[:half], one.truth[:half]
        tried = [
            measured
            for reach in REACHES
            for found in curve(field, vectors, truth, allowed, target, reach)
            for measured in found
        ]
        seconds = seconds_of(field, vectors, allowed)
        chosen = cheapest(tried, target, seconds)
        if chosen is None:
            best = max(measured.ann_recall for measured in tried)
            return Tuned(one.name, one.asked, field.info.recipe, None, best, 0.0)
        vectors, truth = one.vectors[half:], one.truth[half:]
        nprobe, reach = chosen.effort.nprobe, chosen.effort.reach
        fresh = measure(field, vectors, truth, allowed, nprobe, reach)
        promised = next(m.ann_recall for m in fresh if m.effort == chosen.effort)
        assert field.info.codebook is not None
        tuning = Tuning(
            asked=one.asked,
            nprobe=nprobe,
            depth=chosen.effort.depth,
            reach=reach,
            target=target,
            promised=promised,
            queries=half,
            rows=field.rows,
            recipe=field.info.recipe,
            codebook=field.info.codebook.name,
            curve=_points(tried),
        )
        ms = 1000 * seconds(chosen.effort)
        return Tuned(one.name, one.asked, field.info.recipe, tuning, promised, ms)

    def _check(self, one: _Direction) -> Tuned:
        field, allowed = one.field, self._view.alive(one.name)
        tuning = next(t for t in tunings_of(field) if t.asked == one.asked)
        now = effort(field, [one.asked])
        found = measure(field, one.vectors, one.truth, allowed, now.nprobe, now.reach)
        share = next((m for m in found if m.effort == now), found[-1]).ann_recall
        ms = 1000 * seconds_of(field, one.vectors, allowed)(now)
        return Tuned(one.name, one.asked, field.info.recipe, tuning, share, ms)


def keep_tunings(writer: Writer, found: Sequence[Tuned], others: Sequence[FieldInfo] = ()) -> None:
    """Commit what tuning has found, beside the older tunings of other kinds of queries.

    Args:
        writer: The index's writer.
        found: At least one for each direction to keep.
        others: Fields with other codes, see :meth:`Tuner.run`.
    """
    fields = []
    for present in writer.manifest.fields:
        new = [one.tuning for one in found if one.field == present.name and one.tuning]
        asked = {tuning.asked for tuning in new}
        if new:
            codebook = new[0].codebook
            info = next((o for o in others if o.codebook and o.codebook.name == codebook), present)
            kept = [tuning for tuning in info.tunings if tuning.asked not in asked]
            fields.append(replace(info, tunings=(*kept, *new)))
    if fields:
        writer.replace_fields(fields, cleared=np.empty(0, np.int64))


def _cost(tuned: Iterable[Tuned]) -> tuple[int, float]:
    """What speaks against some codes: directions without a tuning, milliseconds of the rest."""
    costs = [(one.tuning is None, one.ms) for one in tuned]
    return sum(missing for missing, _ in costs), sum(ms for _, ms in costs)


def _others(rows: NDArray[np.int64], own: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The 10 nearest of 11, without the query itself where it is of the field."""
    if own is None:
        return rows[:, :K]
    order = np.argsort(rows == own[:, None], axis=1, kind="stable")  # itself last
    return np.take_along_axis(rows, order, axis=1)[:, :K]


def _points(tried: Sequence[Measured]) -> tuple[Point, ...]:
    return tuple(Point(**asdict(m.effort), ann_recall=round(m.ann_recall, 4)) for m in tried)
