"""What columns count beside relevance: recent, highly rated or small things first."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import numpy as np

from mmsearch.engine.fusing import Found, Scoring
from mmsearch.fuse import Shares, scores
from mmsearch.fuse.candidates import DEPTH, put_first
from mmsearch.records import FloatArray
from mmsearch.store.catalog import Catalog, Ordered
from mmsearch.store.reader import View

_ITEMS_LOOKED_UP = 4_000
_FEW_VALUES = 1_000
"""A share that is estimated by so many values is wrong by 0.016 at the most, as a standard
error."""


def preferring(
    view: View, catalog: Catalog, prefer: Mapping[str, float], score: Scoring
) -> Scoring:
    """Return a scoring that adds what columns count to the first candidates; others stay behind.

    Args:
        view: The index.
        catalog: Its columns.
        prefer: By column its weight; below 0 low values are preferred.
        score: What gives scores otherwise.

    Raises:
        UsageError: There is no such column, or it holds lists.
    """
    spreads = {column: spread_of(view, catalog, column) for column in prefer}

    def scored(found: Found) -> Shares:
        shares, ids = dict(score(found)), found.items.ids
        first = np.lexsort((ids, -scores(shares)))[:DEPTH]
        for column, weight in prefer.items():
            values = catalog.values(column, ids[first])
            some = [values.get(item_id) for item_id in ids[first].tolist()]
            added = np.float32(weight) * levels(some, spreads[column])
            shares[f"prefer {column}"] = put_first(scores(shares), first, added)
        return shares

    return scored


def spread_of(view: View, catalog: Catalog, column: str) -> Sequence[Ordered]:
    """Return values of a column, rising: of all items that have it, or of some.

    Where there are more, those of 4,000 evenly spaced items; all, if few of those have it.

    Raises:
        UsageError: There is no such column, or it holds lists.
    """

    def looked_up() -> Sequence[Ordered]:
        alive = view.live_items
        items = np.flatnonzero(alive)
        count = min(len(items), _ITEMS_LOOKED_UP)
        places = np.linspace(0, len(items) - 1, count).astype(np.int64)
        found = catalog.values(column, items[places])
        if len(found) < _FEW_VALUES and count < len(items):
            every = catalog.values(column).items()
            found = {i: value for i, value in every if i < len(alive) and alive[i]}
        return sorted(found.values())

    return view.once(("spread", column), looked_up)


def levels(values: Sequence[Ordered | None], spread: Sequence[Ordered]) -> FloatArray:
    """Return how high values stand, (n,) float32 from -1 to 1; 0 for None.

    ``2 p - 1``, p the share of a spread that is lower, of equal ones the half: so neither a
    column's unit nor its outliers count.

    Args:
        values: Of candidates.
        spread: Values of the same column, rising.
    """
    found = np.zeros(len(values), np.float32)
    for place, value in enumerate(values):
        if value is not None and spread:
            both = bisect_left(spread, value) + bisect_right(spread, value)
            found[place] = both / len(spread) - 1
    return found
