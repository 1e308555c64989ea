"""The measures that an evaluation reports: of each query, and over all of them."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.graded import (
    Grades,
    Values,
    average_precision,
    first_ranks,
    hits,
    ndcg,
    recall,
    reciprocal_rank,
)
from mmsearch.metrics.significance import (
    Difference,
    Estimate,
    mean_estimates,
    median_estimate,
    paired_differences,
)

DEEPEST = 10
"""How far ``hit_at_10`` and ``ndcg_at_10`` look: lists must be as long."""


class Measure(StrEnum):
    """What is measured; of one query each has the same name, as in trec_eval's output."""

    HIT_AT_1 = "hit_at_1"
    HIT_AT_5 = "hit_at_5"
    HIT_AT_10 = "hit_at_10"
    RECALL_AT_K = "recall_at_k"
    MEDIAN_RANK = "median_rank"
    MRR_AT_K = "mrr_at_k"
    MAP_AT_K = "map_at_k"
    NDCG_AT_10 = "ndcg_at_10"


MEANS = tuple(measure for measure in Measure if measure is not Measure.MEDIAN_RANK)
"""The measures that are means over the queries, so that differences of two runs are paired."""


def measure_queries(
    ranked: Sequence[Sequence[str]], relevant: Sequence[Mapping[str, int]], k: int
) -> dict[Measure, Values]:
    """Return the measures of each query, (queries,) float64.

    Args:
        ranked: For each query the names that were found, best first, each once.
        relevant: For each query the grades, 1 or more, of what is relevant; at least one.
        k: How many of those found count; 10 or more.
    """
    both = zip(ranked, relevant, strict=True)
    grades = _padded([[mine.get(name, 0) for name in names] for names, mine in both], k)
    ideal = _padded([sorted(mine.values(), reverse=True) for mine in relevant], DEEPEST)
    return _measures(grades, ideal, np.array([len(mine) for mine in relevant]))


def _padded(grades: Sequence[Sequence[int]], width: int) -> Grades:
    """The first of each row, followed by zeros."""
    padded = np.zeros((len(grades), width), np.int64)
    for row, mine in zip(padded, grades, strict=True):
        row[: len(mine)] = mine[:width]
    return padded


def _measures(grades: Grades, ideal: Grades, relevant: NDArray[np.int64]) -> dict[Measure, Values]:
    return {
        Measure.HIT_AT_1: hits(grades, 1),
        Measure.HIT_AT_5: hits(grades, 5),
        Measure.HIT_AT_10: hits(grades, 10),
        Measure.RECALL_AT_K: recall(grades, relevant),
        Measure.MEDIAN_RANK: first_ranks(grades).astype(np.float64),
        Measure.MRR_AT_K: reciprocal_rank(grades),
        Measure.MAP_AT_K: average_precision(grades, relevant),
        Measure.NDCG_AT_10: ndcg(grades[:, :DEEPEST], ideal),
    }


def estimates(values: Mapping[Measure, Values]) -> dict[Measure, Estimate]:
    """Return the figure of each measure over all queries, with its 95 % interval."""
    found = {Measure.MEDIAN_RANK: median_estimate(values[Measure.MEDIAN_RANK])}
    found |= zip(MEANS, mean_estimates(_columns(values)), strict=True)
    return {measure: found[measure] for measure in Measure}


def differences(
    ours: Mapping[Measure, Values], theirs: Mapping[Measure, Values]
) -> dict[Measure, Difference]:
    """Return how much better one run is than another by each mean, over the same queries."""
    found = paired_differences(_columns(ours), _columns(theirs))
    return dict(zip(MEANS, found, strict=True))


def _columns(values: Mapping[Measure, Values]) -> Values:
    return np.column_stack([values[measure] for measure in MEANS])
