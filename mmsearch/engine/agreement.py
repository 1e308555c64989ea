"""What approximation costs the very queries of an evaluation: ``ann_recall_at_10``."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.embedding import embed
from mmsearch.engine.index import Index
from mmsearch.engine.query import Query
from mmsearch.engine.searching import allowed_items
from mmsearch.metrics import Values
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.dense import find_candidates
from mmsearch.search.effort import effort, hubs_of
from mmsearch.search.tuning import K, exact
from mmsearch.store.catalog import Catalog
from mmsearch.store.manifest import EXACT
from mmsearch.store.reader import View
from mmsearch.store.selection import Selection

MOST = 1_000
"""Queries, evenly spaced: exact search is a pass over the field."""


def ann_recall(
    index: Index, queries: Sequence[Query], targets: Sequence[Modality], where: str | None
) -> Values:
    """Return for each of up to 1,000 queries which share of the 10 exact nearest search finds.

    Search looks as thoroughly as it does for 10 hits. Where several fields are searched
    approximately, their mean is taken.

    Args:
        index: What is searched.
        queries: Of the same modalities.
        targets: The modalities to be found; all if there are none.
        where: Expression over columns that items must satisfy.

    Returns:
        (m,) float64; none where all is searched exactly.
    """
    fields = _approximate(index, targets)
    if not fields:
        return np.empty(0)
    chosen = np.linspace(0, len(queries) - 1, min(len(queries), MOST), dtype=np.int64)
    vectors = [embed(queries[n], index.model) for n in chosen]
    kind = queries[0].inputs.keys()

    def shares(view: View, catalog: Catalog) -> list[Values]:
        allowed = allowed_items(view, catalog, where)
        return [
            _shares(view, name, np.stack([mine[name.space] for mine in vectors]), kind, allowed)
            for name in fields
            if name.space in vectors[0]
        ]

    found = index._from_one_commit(shares, looks_up=where is not None)
    return np.mean(found, axis=0) if found else np.empty(0)


def _approximate(index: Index, targets: Sequence[Modality]) -> list[FieldName]:
    return [
        field.name
        for field in index.info().fields
        if field.recipe != EXACT and (not targets or field.name.modality in targets)
    ]


def _shares(
    view: View,
    name: FieldName,
    asked: FloatArray,
    kind: Collection[Modality],
    allowed: NDArray[np.bool_],
) -> Values:
    """The share for each query in one field."""
    field = view.state.fields[name]
    rows = Selection(allowed[field.owners])
    hubs = hubs_of(field, kind)
    found = find_candidates(field, asked, effort(field, kind), rows, [hubs] * len(asked))
    nearest = exact(field, asked, K, rows, hubs)
    shared = [
        np.isin(field.ids[right[right >= 0]], mine.ids[:K]).sum()
        for mine, right in zip(found, nearest, strict=True)
    ]
    shares: Values = shared / np.maximum((nearest >= 0).sum(axis=1), 1)
    return shares
