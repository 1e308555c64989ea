"""What approximation costs the very queries of an evaluation: ``ann_recall_at_10``."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode import Model
from mmsearch.engine.query import Query, embed
from mmsearch.engine.searching import allowed_items
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.dense import effort, find_candidates
from mmsearch.search.tuning import K, exact
from mmsearch.store.catalog import Catalog
from mmsearch.store.field import Selection
from mmsearch.store.reader import View

MOST = 1_000
"""Queries, evenly spaced: exact search is a pass over the field."""


def ann_recall(
    view: View,
    catalog: Catalog,
    model: Model,
    queries: Sequence[Query],
    targets: Sequence[Modality] | None,
    where: str | None,
) -> NDArray[np.float64]:
    """Return for each of up to 1,000 queries which share of the 10 exact nearest search finds.

    Search looks as thoroughly as it does for 10 hits. Where several fields are searched
    approximately, their mean is taken.

    Args:
        view: The index.
        catalog: Its columns.
        model: Its model.
        queries: Of the same modalities.
        targets: What is searched; everything by default.
        where: Expression over columns that items must satisfy.

    Returns:
        (m,) float64; none where all is searched exactly.
    """
    chosen = np.linspace(0, len(queries) - 1, min(len(queries), MOST), dtype=np.int64)
    some = [queries[n] for n in chosen]
    fields = [
        name
        for name, field in view.state.fields.items()
        if field.info.codebook and (targets is None or name.modality in targets)
    ]
    vectors = [embed(query, model) for query in some] if fields else [{}]
    allowed = allowed_items(view, catalog, where)
    shares = [
        _shares(view, name, np.stack([mine[name.space] for mine in vectors]), some[0], allowed)
        for name in fields
        if name.space in vectors[0]
    ]
    return np.mean(shares, axis=0) if shares else np.empty(0)


def _shares(
    view: View, name: FieldName, asked: FloatArray, query: Query, allowed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The share for each query in one field."""
    field = view.state.fields[name]
    rows = Selection(allowed[field.owners])
    found = find_candidates(field, asked, effort(field, query.inputs().keys()), rows)
    nearest = exact(field, asked, K, rows)
    shared = [
        np.isin(field.ids[right[right >= 0]], mine.ids[:K]).sum()
        for mine, right in zip(found, nearest, strict=True)
    ]
    shares: NDArray[np.float64] = shared / np.maximum((nearest >= 0).sum(axis=1), 1)
    return shares
