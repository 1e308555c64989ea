"""The audio stage: a tower of our own learns labels in words and what YAMNet hears."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from mmsearch.encode.mini.features import FRAMES_PER_SECOND
from mmsearch.encode.mini.towers import SIZES, Tower, audio_input, build
from mmsearch.train.clips import SECONDS, Clips
from mmsearch.train.loop import Loop, Plan
from mmsearch.train.text import batches

log = logging.getLogger(__name__)

BATCH = 64
TEMPERATURE = 0.07
LABEL_TEMPLATES = ("{}", "the sound of {}", "sound of a {}", "a {} can be heard")


@dataclass(frozen=True)
class Words:
    """The words that sounds are to be near, embedded by the text tower.

    Attributes:
        labels: (templates, labels, 256) float32, L2-normalised rows.
        classes: (521, 256) float32, AudioSet's class names; L2-normalised rows.
    """

    labels: Tensor
    classes: Tensor


class Listener(nn.Module):
    """A tower with a second head that gives YAMNet's scores; only the tower is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tower: Tower = build("audio")
        self.teacher_head = nn.Linear(SIZES["audio"][1][-1], 521)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points of the space, L2-normalised, and logits of YAMNet's scores."""
        with torch.autocast("cpu", torch.bfloat16):
            pooled = self.tower.pool(x)
        pooled = pooled.float()
        return normalize(self.tower.head(pooled), dim=1), self.teacher_head(pooled)


def augment(mels: NDArray[np.float16], rng: np.random.Generator) -> Tensor:
    """Two to five seconds of each clip, with bands and moments left out (Park et al. 2019).

    Returns:
        (n, 1, 64, frames) float32.
    """
    frames = FRAMES_PER_SECOND * int(rng.integers(2, SECONDS + 1))
    start = int(rng.integers(0, mels.shape[2] - frames + 1))
    x = audio_input(torch.from_numpy(mels[:, :, start : start + frames]))
    for row in x[:, 0]:
        band, moment = int(rng.integers(0, 56)), int(rng.integers(0, frames - 40))
        row[band : band + int(rng.integers(0, 9))] = row.mean()
        row[:, moment : moment + int(rng.integers(0, 41))] = row.mean()
    return x + torch.from_numpy(rng.normal(0, 0.05, (len(x), 1, 1, 1)).astype(np.float32))


def words_loss(points: Tensor, labels: Tensor, teacher: Tensor, words: Words) -> Tensor:
    """How far sounds are from the words for them, against all other words.

    Args:
        points: (n, 256), L2-normalised rows.
        labels: (n, labels), the share of each label; rows sum to 1.
        teacher: (n, 521), YAMNet's scores.
        words: The embedded words.
    """
    named = [cross_entropy(points @ label.T / TEMPERATURE, labels) for label in words.labels]
    heard = teacher / teacher.sum(dim=1, keepdim=True)
    wide = cross_entropy(points @ words.classes.T / TEMPERATURE, heard)
    return torch.stack(named).mean() + 0.3 * wide


def train_audio(clips: Clips, words: Words, out: Path, plan: Plan) -> Tower:
    """Train the audio tower contrastively against label texts and AudioSet's class names."""
    torch.manual_seed(plan.seed)
    listener = Listener()
    labels, teacher = torch.from_numpy(clips.labels), torch.from_numpy(clips.teacher)
    optimizer = torch.optim.AdamW(listener.parameters(), lr=2e-3, weight_decay=0.05)
    loop = Loop(listener, optimizer, plan.steps, out)
    rng = np.random.default_rng([plan.seed, 8, loop.done])
    while loop.running:
        for numbers in batches(len(clips.mels), BATCH, rng):
            rows = torch.from_numpy(numbers)
            points, logits = listener(augment(clips.mels[numbers], rng))
            heard = binary_cross_entropy_with_logits(logits, teacher[rows].sqrt())
            loop.step(words_loss(points, labels[rows], teacher[rows], words) + 5 * heard)
    return listener.tower.eval()
