"""Checkpoints: a run that was stopped goes on where it was, or says why it cannot."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmsearch.errors import TrainingError
from mmsearch.train.journal import Journal
from mmsearch.train.plan import Plan, Progress
from mmsearch.whole import written_whole

CHECKPOINT = "checkpoint.pt"


def save(
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
    replace_whole(folder / CHECKPOINT, state)
    return f"saved at step {progress.step:,} of {plan.steps:,}: {journal.summary()}"


def restore(
    folder: Path,
    plan: Plan,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    journal: Journal,
) -> Progress:
    """Take up a run where its checkpoint is.

    Raises:
        TrainingError: The checkpoint is of another run.
    """
    state = load(folder / CHECKPOINT)
    _refuse(folder, _differences(state["plan"], _identity(plan)))
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    progress = Progress(**state["progress"])
    journal.rewind(progress.step)
    return progress


def refuse_other(folder: Path, subject: str) -> None:
    """Raise TrainingError where a folder holds a run of another subject, before any work."""
    if (folder / CHECKPOINT).exists():
        plan = load(folder / CHECKPOINT)["plan"]
        _refuse(folder, _differences(plan, {**plan, "subject": subject}))


def load(path: Path) -> dict[str, Any]:
    """What :func:`replace_whole` has written, on the CPU."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _refuse(folder: Path, differences: Sequence[str]) -> None:
    if differences:
        raise TrainingError(
            f"{folder}: holds another run, of other {', '.join(differences)}; choose another "
            "folder, or remove that one"
        )


def _identity(plan: Plan) -> dict[str, Any]:
    """What must be equal for a run to be continued."""
    return {name: value for name, value in asdict(plan).items() if name != "checkpoint_s"}


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What two runs do not agree in; parts of the subject, where that is JSON, by their names."""
    found = [key for key in one if one[key] != other[key]]
    try:
        old, new = (dict(json.loads(plan["subject"])) for plan in (one, other))
    except ValueError:
        return found
    parts = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [*parts, *(key for key in found if key not in ("subject", "steps", "evaluate_steps"))]


def replace_whole(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values in place of what was there."""
    with written_whole(path) as temporary:
        torch.save(state, temporary)
