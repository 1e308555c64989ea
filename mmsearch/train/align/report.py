"""What alignment has brought: figures on held-out pairs, before and after."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.records import Failure
from mmsearch.train.figures import Figures, gain
from mmsearch.train.files import save_report

FEWEST = 20
"""Queries that a verdict takes: a bootstrap of fewer says too much."""


@dataclass(frozen=True)
class Change:
    """One direction, before and after.

    Attributes:
        before: Figures of the base model.
        after: Figures of the aligned model, for the same queries.
        new: Whether the base has no space for both modalities; ``before`` is then chance.
    """

    before: Figures
    after: Figures
    new: bool = False

    @property
    def verdict(self) -> str:
        """Whether it helped, as far as the test pairs can tell: 95 % intervals."""
        risen = gain(self.before, self.after)
        if len(self.after.ranks) < FEWEST:
            return "too few queries to tell"
        if risen.low <= 0 <= risen.high:
            return "no difference shown"
        if risen.low > 0:
            return "new" if self.new else "better"
        return "worse"


@dataclass(frozen=True)
class AlignReport:
    """The result of an alignment.

    Attributes:
        folder: The model; ``mmsearch index --model`` takes it.
        changes: The directions.
        pairs: How many pairs were trained on.
        steps: How many steps were taken.
        best_step: After which of them the model was best, on the validation pairs.
        failures: Rows and files that could not be used.
    """

    folder: Path
    changes: Sequence[Change]
    pairs: int
    steps: int
    best_step: int
    failures: Sequence[Failure] = field(default=())

    @property
    def helped(self) -> bool:
        """Whether some direction is new or better, and none worse."""
        verdicts = {change.verdict for change in self.changes}
        return bool(verdicts & {"new", "better"}) and "worse" not in verdicts

    def rows(self) -> list[dict[str, Any]]:
        """A row for each direction: figures before and after, and the verdict."""
        return [
            {
                "direction": change.after.direction,
                "queries": len(change.after.ranks),
                "chance" if change.new else "before": change.before.named(),
                "after": change.after.named(),
                "verdict": change.verdict,
            }
            for change in self.changes
        ]

    def write(self) -> None:
        """Write ``report.json`` into the model's folder."""
        content = {
            "helped": self.helped,
            "pairs": self.pairs,
            "steps": self.steps,
            "best_step": self.best_step,
            "directions": self.rows(),
            "failures": [asdict(failure) for failure in self.failures],
        }
        save_report(self.folder, content)
