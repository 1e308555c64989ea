"""Where a search looks: fields whose vectors can be hits, and captions that speak for those."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.request import Asked, Request
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.dense import effort
from mmsearch.search.evidence import line
from mmsearch.search.probing import Judge, Probe
from mmsearch.store.field import Field, Selection
from mmsearch.store.nearness import Nearness
from mmsearch.store.reader import View


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
    reached = [
        name
        for name, field in view.state.fields.items()
        if field.rows and (name.space in asked[0].vectors or name in asked[0].bridged)
    ]
    shown = frozenset(name for name in reached if name.modality in request.targets)
    for name in reached:
        if name not in shown and not _speaks(name, kind, request):
            continue
        field = view.state.fields[name]
        yield Probe(
            field,
            queries=np.stack([_vector(name, a) for a in asked]),
            allowed=_selection(view, name, shown, allowed, request),
            background=view.background(name),
            effort=effort(field, kind),
            line=line(kind, name.modality),
            judges=[_judge(view, name, field, a) if request.looks_closely else None for a in asked],
            hubs=_hubs(field, kind) if request.looks_closely else None,
            shown=name in shown,
        )


def _vector(name: FieldName, asked: Asked) -> FloatArray:
    """Return a query's vector for a field."""
    own = asked.vectors.get(name.space)
    return asked.bridged[name] if own is None else own


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


def _hubs(field: Field, kind: Collection[Modality]) -> Nearness | None:
    return field.nearness.get(*kind) if len(kind) == 1 else None


def _kind(asked: Sequence[Asked]) -> Collection[Modality]:
    """Return the modalities that all queries are asked in, none where they differ."""
    kinds = {frozenset(a.modalities) for a in asked}
    return kinds.pop() if len(kinds) == 1 else ()


def _judge(view: View, name: FieldName, field: Field, asked: Asked) -> Judge | None:
    if asked.judging is None or name in asked.bridged:
        return None
    return asked.judging.judge(view, name, field)
