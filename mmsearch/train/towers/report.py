"""What the training of towers has brought: figures on held-out pairs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.records import Failure
from mmsearch.train.figures import Figures
from mmsearch.train.files import save_report


@dataclass(frozen=True)
class TowersReport:
    """The result of a training.

    Attributes:
        folder: The model; ``mmsearch index --model`` takes it.
        figures: Of each direction, by the model as an index uses it.
        pairs: How many pairs were trained on.
        left_out: How many were not, because they hold a copy of what is held out.
        steps: How many steps were taken.
        best_step: After which of them the model was best, on the validation pairs.
        failures: Rows and files that could not be used.
    """

    folder: Path
    figures: Sequence[Figures]
    pairs: int
    left_out: int
    steps: int
    best_step: int
    failures: Sequence[Failure] = field(default=())

    def rows(self) -> list[dict[str, Any]]:
        """A row of figures for each direction."""
        return [
            {"direction": one.direction, "queries": len(one.ranks), **one.named()}
            for one in self.figures
        ]

    def write(self) -> None:
        """Write ``report.json`` into the model's folder."""
        content = {
            "pairs": self.pairs,
            "left_out": self.left_out,
            "steps": self.steps,
            "best_step": self.best_step,
            "directions": self.rows(),
            "failures": [asdict(failure) for failure in self.failures],
        }
        save_report(self.folder, content)
