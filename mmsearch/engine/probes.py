"""Where a search looks: fields whose vectors can be hits, and captions that speak for those."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.embedding import unit
from mmsearch.engine.request import Asked, Request
from mmsearch.errors import UsageError
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.effort import effort, hubs_of
from mmsearch.search.evidence import line
from mmsearch.search.hubs import HubCorrection, Hubs
from mmsearch.search.probing import Judge, Probe
from mmsearch.search.querybank import Querybank
from mmsearch.search.standing import levels
from mmsearch.store.field import Field
from mmsearch.store.reader import Background, View
from mmsearch.store.selection import Selection


def probes_of(
    view: View, request: Request, asked: Sequence[Asked], allowed: NDArray[np.bool_]
) -> Iterator[Probe]:
    """Yield each field that is to be looked into, for all queries.

    Args:
        view: The index.
        request: What is to be found.
        asked: Queries, all with vectors in the same spaces.
        allowed: For each item id whether it may be found.
    """
    kind = _kind(asked)
    correction = HubCorrection(request.hubs) if request.looks_closely else HubCorrection.NONE
    if asked[0].is_composed:
        correction = HubCorrection.NONE
    reached = [
        name
        for name, field in view.state.fields.items()
        if field.rows and (name.space in asked[0].terms or name in asked[0].bridged)
    ]
    shown = frozenset(name for name in reached if name.modality in request.targets)
    for name in reached:
        if name not in shown and not _speaks(name, kind, request):
            continue
        selection = _selection(view, name, shown, allowed, request)
        if name not in shown and not selection.count:
            continue
        field, background = view.state.fields[name], view.background(name)
        queries = np.stack([_vector(name, a, background) for a in asked])
        yield Probe(
            field,
            queries=queries,
            allowed=selection,
            background=background,
            effort=effort(field, kind),
            line=line(kind, name.modality),
            judges=[_judge(view, name, field, a) if request.looks_closely else None for a in asked],
            hubs=_hubs(view, name, kind, correction, queries, selection),
            shown=name in shown,
        )


def _vector(name: FieldName, asked: Asked, background: Background) -> FloatArray:
    """Return a query's vector for a field, (dim,) float32 of unit length.

    Each term of several counts by how far it tells the vectors of the field apart: the sum of its
    standings is the standing of the sum. Cosines among pictures, which lie far apart, would hide
    those with a text.

    Args:
        name: Of the field.
        asked: The query.
        background: A sample of the field.
    """
    if name.space not in asked.terms:
        return asked.bridged[name]
    terms = asked.terms[name.space]
    if len(terms) == 1:
        return terms[0].vector
    spreads = levels(background, np.stack([term.vector for term in terms]))
    scaled = [t.vector * (t.weight / s.spread) for t, s in zip(terms, spreads, strict=True)]
    return unit(np.sum(scaled, axis=0, dtype=np.float32))


def _speaks(name: FieldName, kind: Collection[Modality], request: Request) -> bool:
    """Whether a field that is not searched for hits says something of them: captions to words."""
    return request.looks_closely and name.modality is Modality.TEXT and set(kind) == {name.modality}


def _selection(
    view: View,
    name: FieldName,
    shown: frozenset[FieldName],
    allowed: NDArray[np.bool_],
    request: Request,
) -> Selection:
    """Return the rows of a field that count: of items that may be hits."""
    if request.where is None:
        return view.alive(name) if name in shown else view.speaking(name, shown)
    items = allowed if name in shown else allowed & view.holders(shown)
    return Selection(items[view.state.fields[name].owners])


def _hubs(
    view: View,
    name: FieldName,
    kind: Collection[Modality],
    correction: HubCorrection,
    queries: FloatArray,
    allowed: Selection,
) -> Sequence[Hubs | None]:
    """Return for each query what its scores in a field are corrected by, if they are."""
    field = view.state.fields[name]
    usual = hubs_of(field, kind)
    if usual is None or correction is HubCorrection.NONE:
        return [None] * len(queries)
    if correction is HubCorrection.NNN:
        return [usual] * len(queries)
    if field.on_device is not None:
        raise UsageError(f"hubs {correction}: not with a search device; leave one of them out")
    (asked,) = kind

    def made() -> Querybank:
        return Querybank(field, field.bank(asked), effort(field, kind), view.alive(name))

    return view.once(("querybank", name, asked), made).hubs(queries, allowed)


def _kind(asked: Sequence[Asked]) -> Collection[Modality]:
    """Return the modalities that all queries are asked in, none where they differ."""
    kinds = {frozenset(a.modalities) for a in asked}
    return kinds.pop() if len(kinds) == 1 else ()


def _judge(view: View, name: FieldName, field: Field, asked: Asked) -> Judge | None:
    if asked.judging is None or name in asked.bridged:
        return None
    return asked.judging.judge(view, name, field)
