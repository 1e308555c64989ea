"""Measures of retrieval, each with its convention and source, and how far noise moves them."""

from mmsearch.metrics.calibration import auroc, brier_skill, expected_calibration_error
from mmsearch.metrics.graded import (
    Values,
    average_precision,
    first_ranks,
    ndcg,
    recall,
    reciprocal_rank,
)
from mmsearch.metrics.measures import (
    DEEPEST,
    MEANS,
    Measure,
    differences,
    estimates,
    measure_queries,
)
from mmsearch.metrics.ranks import first_relevant_ranks, hit_at_k
from mmsearch.metrics.significance import (
    Difference,
    Estimate,
    mean_estimates,
    median_estimate,
    paired_differences,
)

__all__ = [
    "DEEPEST",
    "MEANS",
    "Difference",
    "Estimate",
    "Measure",
    "Values",
    "auroc",
    "average_precision",
    "brier_skill",
    "differences",
    "estimates",
    "expected_calibration_error",
    "first_ranks",
    "first_relevant_ranks",
    "hit_at_k",
    "mean_estimates",
    "measure_queries",
    "median_estimate",
    "ndcg",
    "paired_differences",
    "recall",
    "reciprocal_rank",
]
