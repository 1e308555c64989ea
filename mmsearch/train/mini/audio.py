"""The audio stage: a tower of our own learns labels in words and what YAMNet hears."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from mmsearch.encode.mini import DIM
from mmsearch.encode.towers.convolution import Tower
from mmsearch.encode.towers.features import FRAMES_PER_SECOND
from mmsearch.encode.towers.networks import audio_input, convolution
from mmsearch.encode.towers.shapes import Convolution, SoundFeatures, Stage
from mmsearch.train.batches import batch
from mmsearch.train.mini.clips import SECONDS, Clips
from mmsearch.train.towers.sounds import gain, leave_out

SHAPE = Convolution(1, 48, (Stage(96, 2), Stage(192, 2)))
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

    def loss(self, points: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
        """How far sounds are from the words for them, against all other words.

        Args:
            points: (n, 256), L2-normalised rows.
            labels: (n, labels), the share of each label; rows sum to 1.
            teacher: (n, 521), YAMNet's scores.
        """
        named = [cross_entropy(points @ label.T / TEMPERATURE, labels) for label in self.labels]
        heard = teacher / teacher.sum(dim=1, keepdim=True)
        wide = cross_entropy(points @ self.classes.T / TEMPERATURE, heard)
        return torch.stack(named).mean() + 0.3 * wide


class Listener(nn.Module):
    """A tower with a second head that gives YAMNet's scores; only the tower is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tower: Tower = convolution(SHAPE, DIM)
        self.teacher_head = nn.Linear(SHAPE.width, 521)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points of the space, L2-normalised, and logits of YAMNet's scores."""
        with torch.autocast(x.device.type, torch.bfloat16):
            features = self.tower.features(x)
        pooled = features.float().mean(dim=(2, 3))
        return normalize(self.tower.head(pooled), dim=1), self.teacher_head(pooled)


@dataclass
class AudioTask:
    """To be near the words for each clip, and to hear what YAMNet hears.

    Attributes:
        clips: The sounds.
        words: What they are to be near.
        seed: Of every random choice.
        device: Where to train.
    """

    clips: Clips
    words: Words
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = Listener().to(self.device)
        self._words = Words(self.words.labels.to(self.device), self.words.classes.to(self.device))

    def backward(self, step: int) -> float:
        """A batch of clips of one length."""
        rng = np.random.default_rng([self.seed, 8, step])
        rows = batch(len(self.clips.mels), BATCH, self.seed, step)
        labels, teacher = (
            torch.from_numpy(array[rows]).to(self.device)
            for array in (self.clips.labels, self.clips.teacher)
        )
        points, logits = self.model(augment(self.clips.mels[rows], rng).to(self.device))
        heard = binary_cross_entropy_with_logits(logits, teacher.sqrt())
        loss = self._words.loss(points, labels, teacher) + 5 * heard
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def evaluate(self) -> dict[str, float]:
        """Nothing is kept for it."""
        return {}


def augment(mels: NDArray[np.float16], rng: np.random.Generator) -> Tensor:
    """Two to five seconds of each clip, with bands and moments left out (Park et al. 2019).

    Returns:
        (n, 1, 64, frames) float32.
    """
    frames = FRAMES_PER_SECOND * int(rng.integers(2, SECONDS + 1))
    start = int(rng.integers(0, mels.shape[2] - frames + 1))
    x = torch.from_numpy(mels[:, :, start : start + frames]).float()
    return audio_input(gain(leave_out(x, rng), rng), SoundFeatures.LOG_MEL)
