"""Pictures find sounds, and sounds pictures, in models whose two spaces only texts share."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mmsearch.encode import Model
from mmsearch.engine.bank import bank_vectors
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.bridge import NEAREST, across
from mmsearch.search.dense import find_candidates
from mmsearch.search.effort import effort
from mmsearch.store.reader import View


def banks(
    model: Model, spaces: Collection[str], targets: Sequence[Modality]
) -> dict[FieldName, FloatArray]:
    """Return the bank in every text field of a model, if a target shares no space with the query.

    Made before an index is looked at: the first time, networks are loaded for it.

    Args:
        model: The model.
        spaces: Those that the query has a vector in.
        targets: What is asked for.
    """
    fields = [{name.space for name in model.fields(target)} for target in targets]
    if all(found & set(spaces) for found in fields):
        return {}
    return {name: bank_vectors(model.encoder(name)) for name in model.fields(Modality.TEXT)}


def bridged(
    view: View,
    bank: Mapping[FieldName, FloatArray],
    vectors: Mapping[str, FloatArray],
    targets: Sequence[Modality],
) -> dict[FieldName, FloatArray]:
    """Return query vectors for the fields of targets that the query's own spaces do not reach.

    The query's nearest texts say what it is, in the other space: the index's own texts, and the
    bank's. What is found so is approximate.

    Args:
        view: The index.
        bank: What :func:`banks` has returned.
        vectors: By space the query's (dim,) vector.
        targets: What is asked for.
    """
    spoken = {name.space for name in bank}
    start = next((space for space in vectors if space in spoken), None)
    if start is None:
        return {}
    reached = {name.modality for name in view.state.fields if name.space in vectors}
    missing = [name for name in view.state.fields if name.modality in set(targets) - reached]
    return {
        name: across(vectors[start], *_texts(view, bank, start, vectors[start], name.space))
        for name in missing
        if name.space in spoken
    }


def _texts(
    view: View, bank: Mapping[FieldName, FloatArray], start: str, query: FloatArray, goal: str
) -> tuple[FloatArray, FloatArray]:
    """Texts near the query in one space, and the same texts in another: (n, dim) each."""
    names = FieldName(start, Modality.TEXT), FieldName(goal, Modality.TEXT)
    sides = [[bank[name]] for name in names]
    fields = [view.state.fields.get(name) for name in names]
    if fields[0] is not None and fields[1] is not None and fields[0].rows:
        alive = view.alive(names[0])
        (found,) = find_candidates(fields[0], query[None], effort(fields[0], ()), alive)
        ids = np.intersect1d(found.ids[:NEAREST], fields[1].ids)
        for side, field in zip(sides, fields, strict=True):
            assert field is not None
            side.append(field.gather(field.find(ids)))
    near, far = (np.concatenate(side) for side in sides)
    return near, far
