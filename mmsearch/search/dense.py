"""Candidates of one field for query vectors, with exact scores."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray, Modality
from mmsearch.store.field import Field, Selection
from mmsearch.store.nearness import Nearness

FIRST_DEPTH = 500
"""Candidates of a field that are scored exactly: of the ten best pictures for a picture among
1,000,000, PQ64 keeps 0.98 in so many, 0.95 in 200 (the vectors of `benchmarks/ann.py`)."""
_CORRECTED = 2
"""So many times as many where scores are corrected for hubs: the codes put rows in the order of
cosines. Of the ten best of 600,000 CLIP-like vectors by corrected scores, 0.96 are among the first
500 by cosines, 0.98 among 1,000."""
EXACT_CANDIDATES = 20_000
_EXACT_SHARE = 8
"""A filter that leaves at most so many rows, and an eighth of them, is answered by scoring all."""
_PROBED_WITHIN = 128
_PROBED_ACROSS = 48
"""One list in so many is looked into, for queries of the field's own modality and for others. Those
lie outside of what the lists were trained on, and their neighbours are in more of them."""
_LEAST_WITHIN = 32
_LEAST_ACROSS = 64
REACH = 0.25
"""What the spread of a list counts when lists are chosen. `benchmarks/lists.py`: 0.5 is best for
CLIP-like texts and worst for captions and photos as `mini` embeds them, where 0.25 holds what
FAISS's own lists do, to within 0.01; for CLIP-like texts 0.25 holds 0.02 more than those."""
HUB_SHARE = 0.5
"""What is subtracted of a vector's nearness to what is usually asked. Chowdhury et al. (arXiv
2410.24114, section 4) choose 0.25 to 1.5 by model and data; of 0.25 to 1, with `mini`, 0.5 and 0.75
gain most on photos and captions, and 0.5 harms least where the bank is about other things."""
_BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of a field, best first.

    Attributes:
        ids: (n,) int64 chunk ids.
        cosines: (n,) float32, exact inner products with the query.
        scores: (n,) float32, falling: the cosines, corrected for hubs.
        exhausted: Whether the field has no further allowed rows.
    """

    ids: NDArray[np.int64]
    cosines: FloatArray
    scores: FloatArray
    exhausted: bool


@dataclass(frozen=True, slots=True)
class Effort:
    """How thoroughly a field is searched.

    Attributes:
        nprobe: Inverted lists to look into.
        depth: Candidates to score exactly; as many are returned.
        reach: What the spread of a list counts when lists are chosen.
    """

    nprobe: int
    depth: int
    reach: float = REACH


def effort(field: Field, asked: Collection[Modality]) -> Effort:
    """Return what a field was tuned to for a kind of query, or the usual.

    Args:
        field: What is to be searched.
        asked: The modalities of the queries; none where they are not known. If they are not of
            one that was tuned for, the most of the tunings is returned.
    """
    tunings = [one for one in field.info.tunings if one.recipe == field.info.recipe]
    fitting = [one for one in tunings if set(asked) == {one.asked}] or tunings
    if fitting:
        most = max(fitting, key=lambda one: one.nprobe)
        return Effort(most.nprobe, max(one.depth for one in fitting), most.reach)
    across = set(asked) != {field.info.name.modality}
    depth = FIRST_DEPTH * (_CORRECTED if hubs_of(field, asked) else 1)
    return Effort(lists_to_probe(field.ann.nlist if field.ann else 1, across=across), depth)


def hubs_of(field: Field, asked: Collection[Modality]) -> Nearness | None:
    """Return what scores are corrected by for queries of some modalities, if they are."""
    return field.nearness.get(*asked) if len(asked) == 1 else None


def find_candidates(
    field: Field,
    queries: FloatArray,
    effort: Effort,
    allowed: Selection,
    hubs: Nearness | None = None,
) -> list[Candidates]:
    """Return for each query the best allowed rows of a field, as many as the effort is deep.

    Exact where the field has no codebook or the filter leaves few rows; else the rows that the
    quantised index proposes, scored exactly on their float16 vectors. A depth of all rows is exact
    too, so whoever asks on gets everything.

    Args:
        field: What to search.
        queries: (n, dim) float32.
        effort: How thoroughly.
        allowed: The rows that may come back.
        hubs: What scores are corrected by; cosines are the scores by default.
    """
    depth = effort.depth
    few = max(depth, min(EXACT_CANDIDATES, field.rows // _EXACT_SHARE))
    if field.info.codebook is None or allowed.count <= few:
        return [_best(field, allowed.rows, depth, query, hubs) for query in queries]
    assert field.ann is not None
    proposed = field.ann.search(queries, depth, effort.nprobe, effort.reach, allowed.bits)
    return [_rescored(field, *one, hubs) for one in zip(proposed, queries, strict=True)]


def corrected(cosines: FloatArray, rows: NDArray[np.int64], hubs: Nearness | None) -> FloatArray:
    """Return the scores of some rows, (n,) float32: ``cosine - HUB_SHARE · nearness``."""
    return cosines if hubs is None else cosines - np.float32(HUB_SHARE) * hubs.take(rows)


def lists_to_probe(nlist: int, *, across: bool) -> int:
    """Return how many of the inverted lists of a field to look into."""
    if across:
        return max(_LEAST_ACROSS, nlist // _PROBED_ACROSS)
    return max(_LEAST_WITHIN, nlist // _PROBED_WITHIN)


def score_rows(field: Field, rows: NDArray[np.int64], query: FloatArray) -> FloatArray:
    """Return the exact inner products of some rows with a query, (n,) float32."""
    if field.info.codebook is None:
        few = len(rows) < field.rows // 2
        scores = inner_products(field.matrix[rows] if few else field.matrix, query)
        return scores if few else scores[rows]
    blocks = [rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS)]
    products = (field.inner_products(block, query) for block in blocks)
    return np.concatenate([np.empty(0, np.float32), *products])


def _best(
    field: Field, rows: NDArray[np.int64], depth: int, query: FloatArray, hubs: Nearness | None
) -> Candidates:
    """Score some rows and return the best."""
    cosines = score_rows(field, rows, query)
    scores = corrected(cosines, rows, hubs)
    keep = _top(scores, min(depth, len(rows)))
    exhausted = depth >= len(rows)
    return _sorted(field, rows[keep], cosines[keep], scores[keep], exhausted=exhausted)


def _rescored(
    field: Field, proposed: NDArray[np.int64], query: FloatArray, hubs: Nearness | None
) -> Candidates:
    """Score the rows that a quantised index proposes, -1 among them for none."""
    rows = proposed[proposed >= 0]
    cosines = score_rows(field, rows, query)
    return _sorted(field, rows, cosines, corrected(cosines, rows, hubs), exhausted=False)


def inner_products(vectors: FloatArray, queries: FloatArray) -> FloatArray:
    """Return (..., n) float32 for (n, dim) and (..., dim) float32, each row by itself.

    A matrix product rounds a row otherwise when its neighbours change: equal vectors would get
    unequal scores, and compaction would change answers.
    """
    products: FloatArray = np.vecdot(vectors, queries[..., None, :])
    return products


def _sorted(
    field: Field,
    rows: NDArray[np.int64],
    cosines: FloatArray,
    scores: FloatArray,
    *,
    exhausted: bool,
) -> Candidates:
    """Sort by falling score, equal scores by rising id, so that answers are reproducible."""
    order = np.lexsort((rows, -scores))
    return Candidates(field.ids[rows[order]], cosines[order], scores[order], exhausted)


def _top(scores: FloatArray, count: int) -> NDArray[np.int64]:
    """Return where the best scores are, the first of equal ones, in no order."""
    if not count:
        return np.empty(0, np.int64)
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    ties = np.flatnonzero(scores == least)[: count - len(above)]
    return np.concatenate([above, ties])
