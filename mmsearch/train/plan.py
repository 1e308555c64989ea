"""How a run is to go, and where it stands."""

import math
from dataclasses import dataclass


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
        subject: What is trained on what, as JSON of names and values; a run of another subject is
            not continued.
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

    def ends(self, progress: "Progress") -> bool:
        """Whether the run is over."""
        idle = bool(self.patience) and progress.waited >= self.patience
        return idle or progress.step >= self.steps

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
