"""From the pool of a search to its hits: scored, cut, folded, with all that is known of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from math import isnan

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode.itm import PREFIX
from mmsearch.engine.chunks import load_chunk
from mmsearch.engine.folding import WIDER, Folding
from mmsearch.engine.fusing import Found, Scoring
from mmsearch.engine.request import Request
from mmsearch.fuse import Shares, lexical_strength, relevance, scores
from mmsearch.records import Hit, Modality
from mmsearch.store.reader import View


class Answers:
    """Makes the hits of the queries of one request; what they have in common is read once.

    Args:
        view: The index.
        request: What is to be found.
        score: Gives scores to it.
        approximate: The modalities that were found by way of texts.
    """

    def __init__(
        self, view: View, request: Request, score: Scoring, approximate: Collection[Modality]
    ) -> None:
        self._request, self._score, self._approximate = request, score, approximate
        self._load = cache(partial(load_chunk, view))
        self._folding = Folding(view, self._load)

    def hits(self, found: Found) -> list[Hit]:
        """Return a query's hits."""
        pool, items = found.pool, found.items
        shares = self._score(found)
        likely = relevance(found.log_odds, lexical_strength(found.signals), found.gallery)
        totals = scores(shares)
        order = np.lexsort((items.ids, -totals))
        order = order[likely[order] >= self._request.min_relevance]
        best, duplicates = self._kept(pool.chunk_ids[items.places[order]], order)
        rows = zip(
            pool.chunk_ids[items.places[best]].tolist(),
            zip(totals[best].tolist(), likely[best].tolist(), strict=True),
            _signals(found, best),
            _by_item(shares, best),
            duplicates,
            strict=True,
        )
        return [self._hit(rank, *row) for rank, row in enumerate(rows, start=1)]

    def _kept(
        self, chunk_ids: NDArray[np.int64], order: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], list[list[int]]]:
        """Return which of the items become hits, and the chunk ids of each one's duplicates."""
        k = self._request.k
        if not self._request.dedupe:
            return order[:k], [[]] * len(order[:k])
        first = chunk_ids[: WIDER * k].tolist()
        kept = self._folding.fold(first, k)
        return order[[*kept]], [[first[place] for place in like] for like in kept.values()]

    def _hit(
        self,
        rank: int,
        chunk_id: int,
        numbers: tuple[float, float],
        signals: Mapping[str, float],
        shares: Mapping[str, float],
        duplicates: Sequence[int],
    ) -> Hit:
        found = self._load(chunk_id)
        return Hit(
            rank,
            *numbers,
            found.item,
            found.part,
            found.chunk,
            found.text,
            signals,
            approximate=found.part.modality in self._approximate,
            shares=shares,
            duplicates=tuple(self._load(one).item for one in duplicates),
        )


def _signals(found: Found, best: NDArray[np.int64]) -> Iterator[dict[str, float]]:
    """Yield what speaks for some items, without what seldom counts where it does not."""
    pool, places = found.pool, found.items.places[best]
    columns = {
        "cosine": pool.cosines[places],
        "lexical": found.signals.lexical[best],
        "standing": pool.standings[places],
        "hubness": pool.hubness[places],
        "judged": pool.judged[places],
    }
    if found.matched is not None:
        columns[PREFIX] = found.matched[best]
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        named = dict(zip(columns, row, strict=True))
        yield {n: v for n, v in named.items() if _counts(n, v)}


def _counts(name: str, value: float) -> bool:
    """Whether a signal says anything."""
    return not isnan(value) and (value != 0 or name not in ("hubness", "judged"))


def _by_item(shares: Shares, best: NDArray[np.int64]) -> Iterator[dict[str, float]]:
    """Yield for some items what their scores are made of, without what is nothing."""
    for row in zip(*(share[best].tolist() for share in shares.values()), strict=True):
        yield {name: value for name, value in zip(shares, row, strict=True) if value}
