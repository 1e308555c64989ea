"""The training loop: whatever trains networks runs through ``train``.

A step depends on the weights, the optimiser's state and the step's number, and on nothing else:
tasks draw their data and their noise from generators seeded with that number. So a run that was
killed and continues at its last checkpoint takes the very steps it would have taken.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from mmsearch.errors import TrainingError
from mmsearch.train.journal import Journal
from mmsearch.whole import written_whole

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"


class Task(Protocol):
    """What is learned: a model, its loss on the batch of a step, and how good it is."""

    @property
    def model(self) -> nn.Module:
        """What is trained, on the device that it is trained on."""
        ...

    def backward(self, step: int) -> float:
        """Add the gradients of one step's loss to the parameters, and return the loss.

        Everything random must come from ``step`` and the task's seed, or from torch's default
        generator, which is seeded for each step.
        """
        ...

    def evaluate(self) -> Mapping[str, float]:
        """How good the model is, on data that is not trained on; the first figure decides."""
        ...


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        steps: Steps of the optimiser, if nothing stops the run earlier.
        seed: Of every random choice.
        learning_rate: Highest rate of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
        weight_decay: Of matrices and kernels; biases and gains are not decayed.
        warm_up: Share of the steps in which the rate rises from zero; it then falls to zero along
            half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983).
        clip_norm: Longest gradient that is followed as it is.
        evaluate_steps: Steps between evaluations, the first before any step, one at the end; 0 for
            none. The best weights are taken, by the first figure; without evaluations the last.
        patience: Evaluations without a better figure after which the run stops; 0 for never.
        checkpoint_s: Seconds between checkpoints.
        subject: What is trained on what; a run of another subject is not continued.
    """

    steps: int
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    clip_norm: float = 5.0
    evaluate_steps: int = 0
    patience: int = 0
    checkpoint_s: float = 60.0
    subject: str = ""

    def evaluates(self, step: int) -> bool:
        """Whether the model is evaluated after so many steps."""
        return bool(self.evaluate_steps) and (step % self.evaluate_steps == 0 or step == self.steps)

    def factor(self, step: int) -> float:
        """Share of the learning rate at a step, 0 to 1."""
        rising = max(1, round(self.warm_up * self.steps))
        if step < rising:
            return (step + 1) / rising
        done = (step - rising) / max(1, self.steps - rising)
        return 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class Progress:
    """Where a run stands; kept in its checkpoint."""

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    waited: int = 0


def train(task: Task, plan: Plan, folder: Path, tell: Callable[[str], None] = log.info) -> Journal:
    """Train a task's model in place, from its last checkpoint if the folder has one.

    Args:
        task: What to learn.
        plan: How.
        folder: Where the checkpoint and the metrics are kept.
        tell: Called with a line at each evaluation and checkpoint.

    Returns:
        The losses and figures of the whole run.

    Raises:
        TrainingError: The loss is no number, or the folder's checkpoint is of another plan.
    """
    model, optimizer = task.model, _optimizer(task.model, plan)
    journal, progress = Journal(folder), Progress()
    if (folder / CHECKPOINT).exists():
        progress = _restore(folder, plan, model, optimizer, journal)
    saved_s, saved_step = time.monotonic(), progress.step
    if plan.evaluates(0) and not progress.step:
        tell(_evaluate(task, progress, journal, folder))  # the start may be the best there is
    while progress.step < plan.steps and not (plan.patience and progress.waited >= plan.patience):
        _step(task, plan, optimizer, journal, progress.step)
        progress.step += 1
        if plan.evaluates(progress.step):
            tell(_evaluate(task, progress, journal, folder))
        if time.monotonic() - saved_s >= plan.checkpoint_s:
            tell(_save(folder, plan, model, optimizer, journal, progress))
            saved_s, saved_step = time.monotonic(), progress.step
    if progress.step > saved_step:
        tell(_save(folder, plan, model, optimizer, journal, progress))
    if plan.evaluate_steps:
        model.load_state_dict(torch.load(folder / BEST, map_location="cpu", weights_only=True))
    model.eval()
    journal.close()
    return journal


def _step(
    task: Task, plan: Plan, optimizer: torch.optim.Optimizer, journal: Journal, step: int
) -> None:
    torch.manual_seed(plan.seed * 1_000_003 + step)
    rate = plan.learning_rate * plan.factor(step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    task.model.train()
    optimizer.zero_grad()
    loss = task.backward(step)
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} at step {step + 1}: try a lower learning rate")
    nn.utils.clip_grad_norm_(task.model.parameters(), plan.clip_norm)
    optimizer.step()
    journal.add(step + 1, loss=loss, learning_rate=rate)


def _optimizer(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wide = [parameter for parameter in trained if parameter.ndim > 1]
    narrow = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [
        {"params": wide, "weight_decay": plan.weight_decay},
        {"params": narrow, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate)


def _evaluate(task: Task, progress: Progress, journal: Journal, folder: Path) -> str:
    """Note how good the model is, and keep it if it has never been better; returns a line."""
    task.model.eval()
    with torch.no_grad():
        figures = dict(task.evaluate())
    journal.add(progress.step, **figures)
    first = next(iter(figures.values()))
    progress.waited += 1
    if first > progress.best:
        progress.best, progress.best_step, progress.waited = first, progress.step, 0
        _replace(folder / BEST, task.model.state_dict())
    return f"step {progress.step:,}: {journal.summary()}"


def _save(
    folder: Path,
    plan: Plan,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    journal: Journal,
    progress: Progress,
) -> str:
    """Write a checkpoint; returns a line."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
        "plan": _identity(plan),
    }
    journal.flush()
    _replace(folder / CHECKPOINT, state)
    return f"saved at step {progress.step:,} of {plan.steps:,}: {journal.summary()}"


def _restore(
    folder: Path,
    plan: Plan,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    journal: Journal,
) -> Progress:
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    if state["plan"] != _identity(plan):
        raise TrainingError(f"{folder}: holds another run; choose another folder, or remove it")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    progress = Progress(**state["progress"])
    journal.rewind(progress.step)
    return progress


def _identity(plan: Plan) -> dict[str, Any]:
    """What must be equal for a run to be continued."""
    return {name: value for name, value in asdict(plan).items() if name != "checkpoint_s"}


def _replace(path: Path, state: Mapping[str, Any]) -> None:
    with written_whole(path) as temporary:
        torch.save(state, temporary)
