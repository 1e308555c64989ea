"""The metrics of a run: rows of a CSV file, and TensorBoard events where that is installed."""

import csv
import time
from pathlib import Path
from typing import Any

from mmsearch.errors import TrainingError
from mmsearch.whole import written_whole

METRICS = "metrics.csv"
SMOOTHED = 50
"""Steps over which the loss is averaged where it is told."""
HIDDEN = ("loss", "learning_rate")


class Journal:
    """Figures of a run by step; a continued run goes on with those before its checkpoint."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows: list[tuple[int, str, float]] = []
        self._board = _board(folder)
        self._start_s, self._start_step = time.monotonic(), 0

    def add(self, step: int, **figures: float) -> None:
        """Note figures of a step."""
        for name, value in figures.items():
            self._rows.append((step, name, float(value)))
            if self._board is not None:
                self._board.add_scalar(name, value, step)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """The steps and values of one figure."""
        found = [(step, value) for step, key, value in self._rows if key == name]
        return [step for step, _ in found], [value for _, value in found]

    @property
    def names(self) -> list[str]:
        """The figures that were noted, in the order of their first appearance."""
        return list(dict.fromkeys(name for _, name, _ in self._rows))

    def summary(self) -> str:
        """The smoothed loss, the last value of every other figure, and the speed, in one line."""
        steps, losses = self.series("loss")
        found, speed = {}, ""
        if losses:
            recent = losses[-SMOOTHED:]
            found["loss"] = sum(recent) / len(recent)
            taken_s = time.monotonic() - self._start_s
            speed = f", {(steps[-1] - self._start_step) / max(taken_s, 1e-9):.2f} steps/s"
        found |= {name: self.series(name)[1][-1] for name in self.names if name not in HIDDEN}
        return ", ".join(f"{name} {value:.4f}" for name, value in found.items()) + speed

    def rewind(self, step: int) -> None:
        """Take up the rows of a run up to a step, where it continues.

        Raises:
            TrainingError: They are gone.
        """
        path = self._folder / METRICS
        if not path.exists():
            raise TrainingError(f"{path} is gone: put it back, or remove the folder to start again")
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(int(at), name, float(value)) for at, name, value in list(csv.reader(file))[1:]]
        self._rows = [row for row in rows if row[0] <= step]
        self._start_step = step

    def flush(self) -> None:
        """Write the rows so far."""
        with (
            written_whole(self._folder / METRICS) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(("step", "figure", "value"))
            writer.writerows((step, name, repr(value)) for step, name, value in self._rows)
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """End what TensorBoard writes beside the run; rows that were not flushed are lost."""
        if self._board is not None:
            self._board.close()


def _board(folder: Path) -> Any:
    """A TensorBoard writer, or nothing where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder)
