"""What towers are given: prepared parts, as they are or a little different each time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from mmsearch.encode.towers.features import FRAMES_PER_SECOND
from mmsearch.encode.towers.networks import audio_input
from mmsearch.encode.towers.shapes import SoundFeatures
from mmsearch.encode.towers.words import Texts
from mmsearch.train.towers.pictures import boxes, cut, recolour
from mmsearch.train.towers.prepare import Prepared
from mmsearch.train.towers.sounds import add_noise, blend, gain, leave_out, stretch
from mmsearch.train.towers.words import Bags

LEAST = 0.6
"""Share of a picture's sides that a crop always holds."""

SECONDS = (2, 5)
"""Of a sound that a step hears, at least and at most; evaluations hear the most."""


@dataclass(frozen=True)
class Mixing:
    """Which samples of a batch are mixed with which (mixup: Zhang et al. 2018, arXiv 1710.09412).

    Attributes:
        partners: (n,) int64, for each sample the place in the batch of the one it is mixed with.
        share: How much of itself remains, 0 to 1.
    """

    partners: NDArray[np.int64]
    share: float

    @classmethod
    def draw(cls, size: int, alpha: float, rng: np.random.Generator) -> "Mixing":
        """A random one: the share is of Beta(alpha, alpha); 1 where alpha is 0."""
        share = float(rng.beta(alpha, alpha)) if alpha else 1.0
        return cls(rng.permutation(size), share)


class Inputs(Protocol):
    """The samples of one modality, ready for its tower."""

    def plain(self, numbers: NDArray[np.int64]) -> Tensor | Texts:
        """Some samples as they are."""
        ...

    def varied(
        self,
        numbers: NDArray[np.int64],
        partners: NDArray[np.int64],
        share: float,
        rng: np.random.Generator,
    ) -> Tensor | Texts:
        """Some samples, each changed by chance and mixed with a partner, of which it is a share."""
        ...


@dataclass(frozen=True)
class Pictures:
    """Pictures for a tower.

    Attributes:
        prepared: The pictures.
        side: Of the tower's square.
    """

    prepared: Prepared
    side: int

    def plain(self, numbers: NDArray[np.int64]) -> Tensor:
        """Whole pictures: (n, 3, side, side) float32, -1 to 1."""
        x = self._pixels(numbers).permute(0, 3, 1, 2).float()
        small = interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        return small / 127.5 - 1.0

    def varied(
        self,
        numbers: NDArray[np.int64],
        partners: NDArray[np.int64],
        share: float,
        rng: np.random.Generator,
    ) -> Tensor:
        """Crops, mirrored, recoloured, mixed: (n, 3, side, side) float32, -1 to 1."""
        one = self._look(numbers, rng)
        return one if share == 1 else share * one + (1 - share) * self._look(partners, rng)

    def _look(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        crops = cut(self._pixels(numbers), boxes(len(numbers), LEAST, rng), self.side)
        return recolour(crops, rng)

    def _pixels(self, numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.concatenate([self.prepared[number] for number in numbers]))


@dataclass(frozen=True)
class Sounds:
    """Sounds for a tower.

    Attributes:
        prepared: Their log-mels.
        features: What the tower sees of them.
    """

    prepared: Prepared
    features: SoundFeatures

    def plain(self, numbers: NDArray[np.int64]) -> Tensor:
        """The first 5 s: (n, 1, bands, frames) float32."""
        frames = SECONDS[1] * FRAMES_PER_SECOND
        return audio_input(stretch(self._mels(numbers), frames, None), self.features)

    def varied(
        self,
        numbers: NDArray[np.int64],
        partners: NDArray[np.int64],
        share: float,
        rng: np.random.Generator,
    ) -> Tensor:
        """Stretches, mixed, noisy, with parts left out: (n, 1, bands, frames) float32."""
        frames = FRAMES_PER_SECOND * int(rng.integers(SECONDS[0], SECONDS[1] + 1))
        x = stretch(self._mels(numbers), frames, rng)
        if share < 1:
            x = blend(x, stretch(self._mels(partners), frames, rng), share)
        return audio_input(gain(leave_out(add_noise(x, rng), rng), rng), self.features)

    def _mels(self, numbers: NDArray[np.int64]) -> list[NDArray[np.float16]]:
        return [self.prepared[number] for number in numbers]


@dataclass(frozen=True)
class Words:
    """Texts for a tower; nothing about them changes.

    Attributes:
        bags: Their token ids.
    """

    bags: Bags

    def plain(self, numbers: NDArray[np.int64]) -> Texts:
        """Token ids, and where each text starts."""
        return self.bags[numbers]

    def varied(
        self,
        numbers: NDArray[np.int64],
        partners: NDArray[np.int64],
        share: float,
        rng: np.random.Generator,
    ) -> Texts:
        """Token ids, and where each text starts."""
        return self.bags[numbers]
