"""How to search a field so that it finds what exact search does, as cheaply as that can be had.

One search for each ``nprobe``, as deep as any, tells what every depth would find: the codes put
candidates in an order, and the depth cuts it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.dense import find_candidates
from mmsearch.search.effort import Effort
from mmsearch.search.hubs import Hubs, corrected
from mmsearch.store.exact import nearest
from mmsearch.store.field import Field
from mmsearch.store.selection import Selection

K = 10
"""ann_recall_at_10 is what is promised."""
REACHES = (0.25, 0.5)
DEPTHS = (50, 100, 200, 400, 800, 1600, 3200)
_SURE = 1.645
"""Standard errors between a promise and the mean that it rests on: 95 % of means are nearer."""
_TIMED = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """What an effort finds of the exact 10 nearest.

    Attributes:
        effort: How it was searched.
        ann_recall: Mean share, 0 to 1 (ann_recall_at_10).
        error: Standard error of that mean.
    """

    effort: Effort
    ann_recall: float
    error: float

    def keeps(self, target: float) -> bool:
        """Whether a target is reached by 95 % of samples of queries."""
        return self.ann_recall - _SURE * self.error >= target


def exact(
    field: Field, queries: FloatArray, k: int, allowed: Selection, hubs: Hubs | None
) -> NDArray[np.int64]:
    """Return the rows of the best scores of each query: (n, k) int64, -1 for none.

    Args:
        field: What is searched.
        queries: (n, dim) float32.
        k: How many for each.
        allowed: The rows that may be found.
        hubs: What scores are corrected by, if they are: one dimension more.
    """
    if hubs is not None:
        queries = np.append(queries, np.ones((len(queries), 1), np.float32), axis=1)
    return nearest(queries, _allowed_blocks(field, allowed, hubs), k)


def _allowed_blocks(
    field: Field, allowed: Selection, hubs: Hubs | None
) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
    start = 0
    for ids, vectors in field.blocks():
        kept = np.flatnonzero(allowed.mask[start : start + len(ids)])
        if len(kept):
            rows, floats = start + kept, vectors[kept].astype(np.float32)
            if hubs is not None:
                corrections = corrected(np.zeros(len(rows), np.float32), rows, hubs)
                floats = np.append(floats, corrections[:, None], axis=1)
            yield rows, floats
        start += len(ids)


def measure(
    field: Field,
    queries: FloatArray,
    truth: NDArray[np.int64],
    allowed: Selection,
    nprobe: int,
    reach: float,
) -> list[Measured]:
    """Return what is found at each depth.

    Args:
        field: One that has a codebook.
        queries: (n, dim) float32.
        truth: (n, 10) int64, the rows of the exact nearest; -1 where there are fewer.
        allowed: The rows that may be found.
        nprobe: Lists to look into.
        reach: What their spread counts.
    """
    assert field.ann is not None
    depths = [depth for depth in DEPTHS if depth <= allowed.count] or [allowed.count]
    places = []
    for at in range(0, len(queries), 256):
        some = queries[at : at + 256]
        proposed = field.ann.search(some, depths[-1], nprobe, reach, allowed)
        places.append(_places(proposed, truth[at : at + 256]))
    found = np.concatenate(places)
    wanted = np.maximum((truth >= 0).sum(axis=1), 1)
    shares = [(found < depth).sum(axis=1) / wanted for depth in depths]
    errors = [float(share.std() / len(share) ** 0.5) for share in shares]
    return [
        Measured(Effort(nprobe, depth, reach), float(share.mean()), error)
        for depth, share, error in zip(depths, shares, errors, strict=True)
    ]


def _places(proposed: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in its proposals each query's true rows stand: (n, 10) int64, far beyond for none."""
    places = np.full(truth.shape, np.iinfo(np.int64).max)
    for rows, right, place in zip(proposed, truth, places, strict=True):
        order = np.argsort(rows, kind="stable")
        at = np.minimum(np.searchsorted(rows[order], right), len(rows) - 1)
        there = (rows[order[at]] == right) & (right >= 0)
        place[there] = order[at[there]]
    return places


def curve(
    field: Field,
    queries: FloatArray,
    truth: NDArray[np.int64],
    allowed: Selection,
    target: float,
    reach: float,
) -> Iterator[list[Measured]]:
    """Measure one ``nprobe`` after the other, twice as many lists each time.

    Ends one step behind the first that keeps the target: more lists may need less depth.
    """
    assert field.ann is not None
    nprobe, enough = 1, 0
    while nprobe <= field.ann.nlist and enough < 2:
        found = measure(field, queries, truth, allowed, nprobe, reach)
        yield found
        enough += any(one.keeps(target) for one in found)
        nprobe *= 2


def cheapest(
    measured: Sequence[Measured], target: float, seconds: Callable[[Effort], float]
) -> Measured | None:
    """Return the fastest effort that keeps a target, if any does.

    Args:
        measured: What was tried.
        target: ann_recall_at_10.
        seconds: What a query with an effort takes.
    """
    shallowest: dict[tuple[int, float], Measured] = {}
    for one in sorted(measured, key=lambda one: one.effort.depth):
        if one.keeps(target):
            shallowest.setdefault((one.effort.nprobe, one.effort.reach), one)
    return min(shallowest.values(), key=lambda one: seconds(one.effort), default=None)


def seconds_of(field: Field, queries: FloatArray, allowed: Selection) -> Callable[[Effort], float]:
    """Return what times an effort: the median of single queries, their exact scores included."""

    def seconds(effort: Effort) -> float:
        taken = []
        for query in queries[:_TIMED]:
            started = time.perf_counter()
            find_candidates(field, query[None], effort, allowed)
            taken.append(time.perf_counter() - started)
        return float(np.median(taken))

    return seconds
