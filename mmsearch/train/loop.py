"""The training loop: whatever trains networks runs through ``train``.

A step depends on the weights, the optimiser's state and the step's number, and on nothing else:
tasks draw their data and their noise from generators seeded with that number. So a run that was
killed and continues at its last checkpoint takes the very steps it would have taken.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from mmsearch.errors import TrainingError
from mmsearch.train.checkpoint import CHECKPOINT, load, replace_whole, restore, save
from mmsearch.train.journal import Journal
from mmsearch.train.plan import Plan, Progress
from mmsearch.train.stopping import stoppable

log = logging.getLogger(__name__)

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
        KeyboardInterrupt: Ctrl-C was pressed, and a checkpoint written.
        TrainingError: The loss is no number, or the folder's checkpoint is of another plan.
    """
    with closing(Journal(folder)) as journal:
        _train(task, plan, folder, journal, tell)
    return journal


def _train(
    task: Task, plan: Plan, folder: Path, journal: Journal, tell: Callable[[str], None]
) -> None:
    model, optimizer, progress = task.model, _optimizer(task.model, plan), Progress()
    if (folder / CHECKPOINT).exists():
        progress = restore(folder, plan, model, optimizer, journal)
    if plan.evaluates(0) and not progress.step:
        tell(_evaluate(task, progress, journal, folder))  # the start may be the best there is
    saved_s, saved_step = time.monotonic(), progress.step
    with stoppable() as stop:
        while not plan.ends(progress):
            _step(task, plan, optimizer, journal, progress.step)
            progress.step += 1
            if plan.evaluates(progress.step):
                tell(_evaluate(task, progress, journal, folder))
            if stop.asked or time.monotonic() - saved_s >= plan.checkpoint_s:
                tell(save(folder, plan, model, optimizer, journal, progress))
                saved_s, saved_step = time.monotonic(), progress.step
            if stop.asked:
                raise KeyboardInterrupt
        if progress.step > saved_step:
            tell(save(folder, plan, model, optimizer, journal, progress))
    if plan.evaluate_steps:
        tell(f"best at step {progress.best_step:,} of {progress.step:,}")
        model.load_state_dict(load(folder / BEST))
    model.eval()
    journal.flush()


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
        replace_whole(folder / BEST, task.model.state_dict())
    return f"step {progress.step:,}: {journal.summary()}"
