"""What a fitted scorer gains over the default, on queries that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.fuse.learned import Arrays, Learned, learned_share
from mmsearch.metrics import DEEPEST, Difference, Values, ndcg, paired_differences
from mmsearch.metrics.graded import hits
from mmsearch.records import Failure, FloatArray
from mmsearch.train.fusion.examples import Example

SIGNIFICANT = 0.05
"""What p must be below for a scorer to be kept."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the held-out queries, of those that have a relevant candidate."""

    ndcg_at_10: float
    hit_at_1: float
    hit_at_10: float


@dataclass(frozen=True, slots=True)
class FusionReport:
    """The result of a training.

    Attributes:
        scorer: Which was trained.
        directions: For which queries, as ``text->image``.
        queries: How many it was trained on, those that decided when to stop among them.
        held_out: How many the figures are of.
        default: Figures of the default scorer.
        learned: Figures of the trained one.
        difference: By how much its nDCG@10 is higher, and whether by chance: the mean over groups
            of queries with relevant items in common.
        hidden: Queries that were left out because no relevant item is among their candidates.
        rare: Queries that were left out because there are too few of their direction.
        failures: Rows and files that could not be used, and why.
        seconds: What it took.
    """

    scorer: Learned
    directions: tuple[str, ...]
    queries: int
    held_out: int
    default: Figures
    learned: Figures
    difference: Difference
    hidden: int
    rare: int
    failures: tuple[Failure, ...]
    seconds: float

    @property
    def helped(self) -> bool:
        """Whether the scorer is better than the default, and was stored."""
        return self.difference.value > 0 and self.difference.p < SIGNIFICANT


def scored(kind: Learned, arrays: Arrays, example: Example) -> FloatArray:
    """Return the scores that a scorer gives to the candidates of an example, (n,) float32."""
    return example.candidates.scores + learned_share(kind, arrays, example.candidates)


def measured(examples: Sequence[Example], scores: Sequence[FloatArray]) -> Values:
    """Return nDCG@10, hit_at_1 and hit_at_10 of candidates in the order of some scores, (n, 3)."""
    grades, ideal = np.zeros((2, len(examples), DEEPEST), np.int64)
    for number, (example, mine) in enumerate(zip(examples, scores, strict=True)):
        first = example.grades[np.argsort(-mine, kind="stable")][:DEEPEST]
        best = sorted(example.relevant.values(), reverse=True)[:DEEPEST]
        grades[number, : len(first)], ideal[number, : len(best)] = first, best
    return np.column_stack([ndcg(grades, ideal), hits(grades, 1), hits(grades, DEEPEST)])


def figures(values: Values) -> Figures:
    """Return the means of what :func:`measured` returns."""
    return Figures(*values.mean(axis=0).tolist())


def difference(learned: Values, default: Values, groups: NDArray[np.int64]) -> Difference:
    """Return by how much nDCG@10 has risen: queries with relevant items in common are one.

    Args:
        learned: (n, 3), see :func:`measured`.
        default: The same.
        groups: (n,) int64, the group of each query.
    """
    numbers, counts = np.unique(groups, return_inverse=True)[1], np.unique_counts(groups).counts
    ours, theirs = (
        np.bincount(numbers, values[:, 0])[:, None] / counts[:, None]
        for values in (learned, default)
    )
    return paired_differences(ours, theirs)[0]
