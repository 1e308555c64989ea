"""The audio stage: a tower of our own learns labels in words and what YAMNet hears."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cosine_similarity,
    cross_entropy,
    normalize,
)

from mmsearch.encode.compute import has_bf16
from mmsearch.encode.mini import DIM
from mmsearch.encode.towers.convolution import Tower
from mmsearch.encode.towers.features import FRAMES_PER_SECOND
from mmsearch.encode.towers.networks import audio_input, convolution
from mmsearch.encode.towers.shapes import Convolution, SoundFeatures, Stage
from mmsearch.records import FloatArray
from mmsearch.train.batches import batch
from mmsearch.train.mini.clips import SECONDS, Clips
from mmsearch.train.towers.sounds import blend, colour, gain, leave_out, transpose

SHAPE = Convolution(1, 48, (Stage(96, 2), Stage(192, 2)))
BATCH = 64
MIXED = 0.5
COLOUR = 0.08
BANDS = 2
"""Of the augmentation: the share of clips that are mixed, log-mels of tone colour, and mel bands
of pitch; chosen by training on folds 1 and 2 and listening to fold 3."""

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
    """A tower with two more heads, for what YAMNet says and sees; only the tower is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tower: Tower = convolution(SHAPE, DIM)
        self.scores_head = nn.Linear(SHAPE.width, 521)
        self.features_head = nn.Linear(SHAPE.width, 1024)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points of the space, L2-normalised; logits of YAMNet's scores; its features."""
        with torch.autocast(x.device.type, torch.bfloat16, has_bf16(x.device)):
            features = self.tower.features(x)
        pooled = features.float().mean(dim=(2, 3))
        points = normalize(self.tower.head(pooled), dim=1)
        return points, self.scores_head(pooled), self.features_head(pooled)


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
        features = self.clips.features
        self._features = (features - features.mean(axis=0)) / (features.std(axis=0) + 0.01)

    def backward(self, step: int) -> float:
        """A batch of clips of one length, half of them with another one mixed in."""
        rng = np.random.default_rng([self.seed, 8, step])
        rows = batch(len(self.clips.mels), BATCH, self.seed, step)
        mixing = Mixture.draw(len(rows), rng)
        heard = augment(self.clips.mels[rows], mixing, rng).to(self.device)
        points, logits, features = self.model(heard)
        labels = mixing.sum(self._take(self.clips.labels, rows))
        scores = mixing.loudest(self._take(self.clips.scores, rows))
        loss = self._words.loss(points, labels, scores)
        loss = loss + 5 * binary_cross_entropy_with_logits(logits, scores.sqrt())
        alike = cosine_similarity(features, self._take(self._features, rows))
        loss = loss + (1 - alike)[mixing.shares == 1].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.item())

    def _take(self, array: FloatArray, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array[rows]).to(self.device)

    def evaluate(self) -> dict[str, float]:
        """Nothing is kept for it."""
        return {}


@dataclass(frozen=True)
class Mixture:
    """Which clips of a batch are heard with which (Tokozume et al. 2018, arXiv 1711.10282).

    Attributes:
        partners: (n,) int64, the place of each clip's partner.
        shares: (n,) float32, how much of the power is the clip's own; 1 for half of them.
    """

    partners: Tensor
    shares: Tensor

    @classmethod
    def draw(cls, size: int, rng: np.random.Generator) -> "Mixture":
        """A random one; at least one clip stays alone."""
        shares = np.where(rng.random(size) < MIXED, rng.beta(4, 4, size), 1.0)
        shares[0] = 1.0
        partners = torch.from_numpy(rng.permutation(size))
        return cls(partners, torch.from_numpy(shares.astype(np.float32)))

    def sum(self, values: Tensor) -> Tensor:
        """Values of which each clip brings its share: (n, m)."""
        shares = self.shares.to(values.device)[:, None]
        return shares * values + (1 - shares) * values[self.partners]

    def loudest(self, values: Tensor) -> Tensor:
        """Values of which the larger is heard: (n, m)."""
        shares = self.shares.to(values.device)[:, None]
        return torch.maximum(shares * values, (1 - shares) * values[self.partners])


def augment(mels: NDArray[np.float16], mixing: Mixture, rng: np.random.Generator) -> Tensor:
    """Two to five seconds of each clip, mixed, coloured, higher or lower, with parts left out.

    Returns:
        (n, 1, 64, frames) float32.
    """
    frames = FRAMES_PER_SECOND * int(rng.integers(2, SECONDS + 1))
    starts = rng.integers(0, mels.shape[2] - frames + 1, 2)
    one, other = (torch.from_numpy(mels[:, :, at : at + frames]).float() for at in starts)
    x = blend(one, other[mixing.partners], mixing.shares[:, None, None])
    x = transpose(colour(x, COLOUR, rng), BANDS, rng)
    return audio_input(gain(leave_out(x, rng), rng), SoundFeatures.LOG_MEL)
