"""Steps of an optimiser with warm-up, cosine decay, gradient clipping and checkpoints."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

WARM_UP = 200
CHECKPOINT_STEPS = 100


@dataclass(frozen=True)
class Plan:
    """How long to train, and from which random start."""

    steps: int
    seed: int


class Loop:
    """Counts the steps of one training run; a killed run continues at its last checkpoint."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, path: Path
    ) -> None:
        self._model, self._optimizer, self._steps, self._path = model, optimizer, steps, path
        self.done, self._mean, self._started = 0, 0.0, time.monotonic()
        self._rates = [group["lr"] for group in optimizer.param_groups]
        if path.exists():
            self._restore(torch.load(path, weights_only=True))
        self._first = self.done

    @property
    def running(self) -> bool:
        """Whether steps are left."""
        return self.done < self._steps

    def step(self, loss: Tensor) -> None:
        """Follow the gradient of a loss once; does nothing when no steps are left."""
        if not self.running:
            return
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._factor()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), 5.0)
        self._optimizer.step()
        self.done += 1
        self._mean += (loss.item() - self._mean) * max(0.01, 1 / (self.done - self._first))
        if self.done % CHECKPOINT_STEPS == 0 or not self.running:
            self._save()

    def _factor(self) -> float:
        """Share of the full learning rate at this step."""
        warm = min(1.0, (self.done + 1) / WARM_UP)
        return warm * 0.5 * (1 + math.cos(math.pi * self.done / self._steps))

    def _save(self) -> None:
        rate = (self.done - self._first) / (time.monotonic() - self._started)
        log.info(
            "%s: step %d of %d, loss %.4f, %.2f steps/s",
            *(self._path.stem, self.done, self._steps, self._mean, rate),
        )
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "done": self.done,
        }
        temporary = self._path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self._path)

    def _restore(self, state: dict[str, object]) -> None:
        self._model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self._optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        self.done = int(state["done"])  # type: ignore[call-overload]
