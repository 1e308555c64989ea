"""What an evaluation has found: figures for each direction, and all that they were made of."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmsearch.metrics import Difference, Estimate, Measure, Values, differences, estimates
from mmsearch.records import Failure
from mmsearch.sources.trec import Ranked

ALL = "all"
"""The direction that stands for all queries, where there are several."""


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """The measures of one setting.

    Attributes:
        values: Of each query, (queries,) float64; ``median_rank`` is the rank of its first
            relevant item, k + 1 where none was found.
        estimates: Over all queries, with 95 % intervals.
    """

    values: Mapping[Measure, Values]
    estimates: Mapping[Measure, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The setting of an earlier run, for the same queries.

    Attributes:
        figures: Of that run.
        differences: How much better this one is, by the measures that are means.
    """

    figures: Figures
    differences: Mapping[Measure, Difference]


@dataclass(frozen=True, slots=True, eq=False)
class DirectionEvaluation:
    """The queries of one direction.

    Attributes:
        direction: ``text->image``, ``text+image->all`` and the like, or ``all``.
        queries: Their ids.
        figures: How good the answers are.
        ann_recall_at_10: The share of the 10 exact nearest vectors that search found; ``None``
            where nothing is searched approximately, and for ``all``.
        ms: (queries,) float64: what each took, in milliseconds, asked by itself: reading and
            embedding it, searching, and reading the hits' records.
        against: The earlier run, if one was given.
    """

    direction: str
    queries: tuple[str, ...]
    figures: Figures
    ann_recall_at_10: Estimate | None
    ms: Values
    against: Comparison | None

    @property
    def median_ms(self) -> float:
        """What half of the queries took at most."""
        return float(np.median(self.ms))

    @property
    def p95_ms(self) -> float:
        """What 95 % of the queries took at most."""
        return float(np.percentile(self.ms, 95))


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How well an index answers queries of which is known what is relevant.

    Attributes:
        index: The index's folder.
        against: The file of the earlier run, if one was given.
        k: How many hits each query was asked for.
        directions: The figures; where there are several directions, those of all queries at last.
        run: By query what was found, the best first.
        failures: Rows and files that could not be asked with, and why.
        unjudged: How many queries were left out because nothing is relevant to them.
        unasked: How many queries have qrels, but are not among the queries.
        absent: Relevant items that the index does not hold; they count as not found.
        unanswered: How many queries the earlier run does not answer; they count as nothing found.
    """

    index: str
    against: str | None
    k: int
    directions: tuple[DirectionEvaluation, ...]
    run: Mapping[str, Ranked]
    failures: tuple[Failure, ...]
    unjudged: int
    unasked: int
    absent: tuple[str, ...]
    unanswered: int


def figures(values: Mapping[Measure, Values]) -> Figures:
    """Return the measures of some queries with their intervals."""
    return Figures(values, estimates(values))


def compare(ours: Figures, theirs: Mapping[Measure, Values]) -> Comparison:
    """Return another setting's figures, and how ours differ from them."""
    return Comparison(figures(theirs), differences(ours.values, theirs))
