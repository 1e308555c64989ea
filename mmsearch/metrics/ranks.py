"""Ranks of the best relevant items, from the scores of a whole gallery."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def hit_at_k(ranks: NDArray[np.int64], k: int) -> float:
    """Return the share of queries with a relevant item among the first k.

    What papers on CLIP-like models call R@k or recall@k (Karpathy and Fei-Fei, CVPR 2015).

    Args:
        ranks: (queries,) int64: the rank of each query's best relevant item, 1 for the first.
        k: How many items are looked at.
    """
    return float(np.mean(ranks <= k))


def first_relevant_ranks(
    scores: NDArray[np.float32], relevant: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Return the rank of each query's best relevant item; ties and NaN count against the query.

    Args:
        scores: (queries, items) float32, higher is better.
        relevant: For each query the columns of its relevant items, at least one.
    """
    best = np.array([row[columns].max() for row, columns in zip(scores, relevant, strict=True)])
    wrong = ~(scores < best[:, None])
    for row, columns in zip(wrong, relevant, strict=True):
        row[columns] = False
    ranks: NDArray[np.int64] = wrong.sum(axis=1) + 1
    return ranks
