"""The training loop: it learns, it stops, and a run that was killed takes the same steps."""

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmsearch.errors import TrainingError
from mmsearch.train.batches import batch
from mmsearch.train.checkpoint import CHECKPOINT
from mmsearch.train.loop import BEST, train
from mmsearch.train.plan import Plan
from mmsearch.whole import written_whole

INPUTS = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
WANTED = INPUTS @ torch.arange(8.0)


class Line:
    """A line with dropout is fitted to points; tells how well it does."""

    def __init__(self, figures: list[float] | None = None) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 1))
        self._figures = figures
        self.steps: list[int] = []

    def loss(self, rows: Tensor) -> Tensor:
        found: Tensor = self.model(INPUTS[rows])[:, 0]
        return (found - WANTED[rows]).square().mean()

    def backward(self, step: int) -> float:
        self.steps.append(step)
        loss = self.loss(torch.from_numpy(batch(64, 16, 3, step)))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def evaluate(self) -> dict[str, float]:
        fit = -self.loss(torch.arange(64)).item()
        return {"fit": self._figures.pop(0) if self._figures else fit}


def weights(task: Line) -> list[Tensor]:
    return [p.detach().clone() for p in task.model.parameters()]


def test_a_run_learns_and_says_so(tmp_path: Path) -> None:
    task = Line()
    journal = train(task, Plan(200, learning_rate=0.3, evaluate_steps=50), tmp_path)
    steps, fits = journal.series("fit")
    assert steps == [0, 50, 100, 150, 200]
    assert fits[-1] > 0.1 * fits[0]
    assert journal.names == ["fit", "loss", "learning_rate"]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["value"]) for r in rows if r["figure"] == "fit"] == fits


def test_the_rate_rises_then_falls() -> None:
    plan = Plan(100, warm_up=0.1)
    factors = [plan.factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.01
    assert plan.factor(55) == pytest.approx(0.5, abs=0.01)


@dataclass
class Killed(Line):
    """Stops as if killed after some steps."""

    after: int

    def __post_init__(self) -> None:
        super().__init__()

    def backward(self, step: int) -> float:
        if step == self.after:
            raise KeyboardInterrupt
        return super().backward(step)


@pytest.mark.parametrize("after", [1, 7, 30])
def test_a_continued_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, after: int
) -> None:
    plan = Plan(40, learning_rate=0.1, evaluate_steps=10, checkpoint_s=0)
    whole = Line()
    journal = train(whole, plan, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Killed(after), plan, tmp_path / "parts")
    resumed = Line()
    continued = train(resumed, plan, tmp_path / "parts")
    assert resumed.steps == list(range(after, 40))
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(one, other)
    assert continued.series("loss") == journal.series("loss")
    assert continued.series("fit") == journal.series("fit")


RUN = """
    import sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    sys.path.insert(0, sys.argv[2])
    from test_train_loop import Line, Plan, train
    import time
    class Slow(Line):
        def backward(self, step):
            time.sleep(0.005)
            return super().backward(step)
    plan = Plan(100, learning_rate=0.1, evaluate_steps=25, checkpoint_s=0.01)
    train(Slow(), plan, Path(sys.argv[1]))
"""


def test_a_run_that_is_killed_at_any_time_continues_bit_for_bit(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(RUN),
        str(tmp_path),
        str(Path(__file__).parent),
    ]
    kills = 0
    for wait_s in (0.02, 0.1, 0.25):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        before = (tmp_path / CHECKPOINT).stat().st_mtime_ns if kills else 0
        while process.poll() is None and time.monotonic() < deadline:
            found = tmp_path / CHECKPOINT
            if found.exists() and found.stat().st_mtime_ns > before:
                break
            time.sleep(0.005)
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 2
    plan = Plan(100, learning_rate=0.1, evaluate_steps=25, checkpoint_s=0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    resumed, whole = Line(), Line()
    train(resumed, plan, tmp_path)
    train(whole, plan, tmp_path / "whole")
    torch.set_num_threads(threads)
    assert resumed.steps[0] > 0
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(one, other)
    read = [(home / "metrics.csv").read_text() for home in (tmp_path, tmp_path / "whole")]
    assert read[0] == read[1]


def test_a_run_that_gets_no_better_stops_and_takes_its_best(tmp_path: Path) -> None:
    task = Line([0.0, 1.0, 3.0, 2.0, 2.5, 9.0])
    journal = train(task, Plan(100, evaluate_steps=5, patience=2, checkpoint_s=0), tmp_path)
    assert journal.series("fit")[0] == [0, 5, 10, 15, 20]
    best = torch.load(tmp_path / BEST, weights_only=True)
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, best[name])
    again = Line([9.0])
    assert train(again, Plan(100, evaluate_steps=5, patience=2, checkpoint_s=0), tmp_path)
    assert again.steps == []
    assert torch.equal(weights(again)[0], weights(task)[0])


def test_a_run_of_another_plan_is_not_continued(tmp_path: Path) -> None:
    plan = Plan(3, subject="dogs")
    train(Line(), plan, tmp_path)
    with pytest.raises(TrainingError, match="another run"):
        train(Line(), replace(plan, subject="cats"), tmp_path)
    train(Line(), replace(plan, checkpoint_s=5), tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    task = Line()
    task.loss = lambda rows: task.model(INPUTS[rows]).mean() * float("nan")  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="lower learning rate"):
        train(task, Plan(3), tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_batches_pass_over_all_rows_in_an_order_of_their_seed() -> None:
    steps = [batch(10, 3, 0, step) for step in range(6)]
    for epoch in (steps[:3], steps[3:]):
        assert len(set(np.concatenate(epoch).tolist())) == 9
    assert steps[0].tolist() != steps[3].tolist()
    assert batch(10, 3, 0, 4).tolist() == steps[4].tolist()
    assert batch(10, 3, 1, 0).tolist() != steps[0].tolist()


def test_metrics_are_written_where_tensorboard_reads_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(Line(), Plan(3), tmp_path)
    assert any(name.startswith("events.out.tfevents") for name in os.listdir(tmp_path))


class Interrupted(Line):
    """Somebody presses Ctrl-C while a step is being taken, and may press again."""

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self._times = times

    def backward(self, step: int) -> float:
        if step == 5:
            for _ in range(self._times):
                os.kill(os.getpid(), signal.SIGINT)
        return super().backward(step)


def test_ctrl_c_saves_the_step_and_the_run_goes_on_with_the_very_bits(tmp_path: Path) -> None:
    plan, said = Plan(12, learning_rate=0.3), list[str]()
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), plan, tmp_path / "parts", said.append)
    assert said[-1].startswith("saved at step 6 of 12")
    parts, whole = Line(), Line()
    train(parts, plan, tmp_path / "parts")
    assert parts.steps == [6, 7, 8, 9, 10, 11]
    train(whole, plan, tmp_path / "whole")
    assert all(torch.equal(*pair) for pair in zip(weights(parts), weights(whole), strict=True))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(2), Plan(12), tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_another_run_says_what_differs(tmp_path: Path) -> None:
    subject = json.dumps({"epochs": 3, "image-text pairs": "a"})
    train(Line(), Plan(4, subject=subject), tmp_path)
    other = Plan(5, learning_rate=0.2, subject=subject.replace("3", "4"))
    with pytest.raises(TrainingError, match="another run, of other epochs, learning_rate; choose"):
        train(Line(), other, tmp_path)


def test_files_are_readable_as_the_user_wants_it(tmp_path: Path) -> None:
    """Libraries that write through a file of their own make it private."""
    (tmp_path / "plain").touch()
    with written_whole(tmp_path / "model") as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "model")}
    assert len(modes) == 1
