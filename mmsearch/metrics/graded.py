"""Measures of ranked lists, a value for each query, by the conventions of trec_eval.

They take ``grades``, (queries, depth) int64: the grade of what stands at each rank, the first rank
first; 0 for what is not relevant, and beyond the end of a shorter list. And ``relevant``,
(queries,) int64: how many relevant items a query has, found or not, at least one.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Grades: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]
"""A number for each query: (queries,), or (queries, columns) for several measures."""


def first_ranks(grades: Grades) -> NDArray[np.int64]:
    """Return the rank of each query's first relevant item; depth + 1 where none was found.

    The true rank of what was not found is that or more, so a median up to the depth is exact.
    """
    found = grades > 0
    ranks: NDArray[np.int64] = np.where(found.any(axis=1), found.argmax(axis=1), grades.shape[1])
    return ranks + 1


def hits(grades: Grades, k: int) -> Values:
    """Return 1 for each query with a relevant item among the first k, else 0 (``success_k``).

    Its mean is what papers on CLIP-like models call R@k.
    """
    return np.asarray((grades[:, :k] > 0).any(axis=1), np.float64)


def recall(grades: Grades, relevant: NDArray[np.int64]) -> Values:
    """Return the share of each query's relevant items that was found (trec_eval's ``recall_k``)."""
    shares: Values = (grades > 0).sum(axis=1) / relevant
    return shares


def reciprocal_rank(grades: Grades) -> Values:
    """Return one over the rank of the first relevant item, 0 where none was found.

    Its mean is MRR (Voorhees, TREC-8 1999), of lists that end at the depth (MRR@k).
    """
    ranks = first_ranks(grades)
    return np.where(ranks > grades.shape[1], 0.0, 1 / ranks)


def average_precision(grades: Grades, relevant: NDArray[np.int64]) -> Values:
    """Return the mean, over all relevant items, of the precision at their ranks; 0 if not found.

    The divisor is the number of relevant items, not that or the depth, whichever is less
    (trec_eval's ``map_cut_k``; Buckley and Voorhees, SIGIR 2000). Its mean is MAP@k.
    """
    found = grades > 0
    precision = found.cumsum(axis=1) / np.arange(1, grades.shape[1] + 1)
    averages: Values = (precision * found).sum(axis=1) / relevant
    return averages


def ndcg(grades: Grades, ideal: Grades) -> Values:
    """Return the normalised discounted cumulative gain: linear gain, over log2(rank + 1).

    trec_eval's ``ndcg_cut_k``: the gain is the grade itself, as Järvelin and Kekäläinen (TOIS 2002)
    have it, not 2^grade - 1.

    Args:
        grades: (queries, k), of the first k.
        ideal: (queries, k), of the best list that there could be: all relevant items, the highest
            grades first, 0 where there are fewer than k.
    """
    discounts = 1 / np.log2(np.arange(2, grades.shape[1] + 2))
    gains: Values = (grades @ discounts) / (ideal @ discounts)
    return gains
