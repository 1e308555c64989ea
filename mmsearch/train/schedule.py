"""What trainings on pairs have in common: how long they run, and what they are judged by."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mmsearch.train.loop import Plan
from mmsearch.train.pairs import Pairing

EVALUATIONS = 20
"""How often a run is evaluated, if it is not stopped."""

MAX_EVALUATED = 2000
"""Pairs of a pairing that figures are taken from."""


class Course(Protocol):
    """The options that a plan follows from."""

    @property
    def batch_size(self) -> int:
        """Pairs of a step."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the pairs."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest."""
        ...

    @property
    def patience(self) -> int:
        """Evaluations that may bring nothing."""
        ...

    @property
    def seed(self) -> int:
        """Of every random choice."""
        ...


def plan(course: Course, trained: Sequence[Pairing], subject: str) -> Plan:
    """The run that passes over the largest of the pairings as often as wanted."""
    most = max(len(pairing.rows) for pairing in trained)
    steps = course.epochs * max(1, most // course.batch_size)
    return Plan(
        steps=steps,
        seed=course.seed,
        learning_rate=course.learning_rate,
        evaluate_steps=max(1, steps // EVALUATIONS),
        patience=course.patience,
        subject=subject,
    )


def judged_by(pairing: Pairing, seed: int) -> Pairing:
    """At most 2,000 of held-out pairs."""
    if len(pairing.rows) <= MAX_EVALUATED:
        return pairing
    rng = np.random.default_rng([seed, 21])
    return pairing.take(np.sort(rng.choice(len(pairing.rows), MAX_EVALUATED, replace=False)))
