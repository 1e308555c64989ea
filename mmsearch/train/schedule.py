"""What trainings on pairs have in common: how long they run, and what they are judged by."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.train.pairs import Pairing
from mmsearch.train.plan import Plan

if TYPE_CHECKING:
    from dataclasses import Field

EVALUATIONS = 20
"""How often a run is evaluated at most, if it is not stopped."""

MAX_EVALUATED = 2000
"""Pairs of a pairing that figures are taken from."""


class Course(Protocol):
    """The options that a plan follows from: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, "Field[object]"]]

    @property
    def batch_size(self) -> int:
        """Pairs of a step."""
        ...

    @property
    def part_size(self) -> int | None:
        """Pairs in memory at a time; all of a step by default."""
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


def check(course: Course) -> None:
    """Raise UsageError where an option makes no sense."""
    at_least(2, batch_size=course.batch_size)
    at_least(1, part_size=course.batch_size if course.part_size is None else course.part_size)
    at_least(0, epochs=course.epochs, patience=course.patience, seed=course.seed)
    if not course.learning_rate > 0:
        raise UsageError(f"learning_rate {course.learning_rate}: must be above 0")


def at_least(least: int, **values: float) -> None:
    """Raise UsageError for the first value that is smaller."""
    for name, value in values.items():
        if value < least:
            raise UsageError(f"{name} {value}: must be at least {least}")


def subject(course: Course, pairings: Sequence[Pairing], makers: Mapping[str, str]) -> str:
    """What a run that is continued must agree in: the options, the pairs and their split.

    Args:
        course: The options.
        pairings: All pairs.
        makers: Hashes of what is trained on beside them: the parts, what a model says of them.
    """
    pairs = {
        f"{pairing.name} pairs": sha256(pairing.rows.tobytes() + pairing.splits.tobytes())
        for pairing in pairings
    }
    hashes = {name: one.hexdigest() for name, one in pairs.items()}
    return json.dumps({**asdict(course), **hashes, **makers})


def plan(course: Course, trained: Sequence[Pairing], subject: str) -> Plan:
    """The run that passes over the largest of the pairings as often as wanted."""
    most = max(len(pairing.rows) for pairing in trained)
    steps = course.epochs * max(1, most // course.batch_size)
    return Plan(
        steps=steps,
        seed=course.seed,
        learning_rate=course.learning_rate,
        evaluate_steps=max(1, -(-steps // EVALUATIONS)),
        patience=course.patience,
        subject=subject,
    )


def judged_by(pairing: Pairing, seed: int) -> Pairing:
    """At most 2,000 of held-out pairs."""
    if len(pairing.rows) <= MAX_EVALUATED:
        return pairing
    rng = np.random.default_rng([seed, 21])
    return pairing.take(np.sort(rng.choice(len(pairing.rows), MAX_EVALUATED, replace=False)))
