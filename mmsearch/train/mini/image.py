"""The image stage: a tower of our own learns to see what the teacher sees, in words' terms."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from mmsearch.encode.compute import has_bf16
from mmsearch.encode.mini import DIM
from mmsearch.encode.towers.convolution import Tower
from mmsearch.encode.towers.networks import convolution
from mmsearch.encode.towers.shapes import Convolution, Stage
from mmsearch.train.batches import batch
from mmsearch.train.losses import cosine_loss, divergence, nearest_loss
from mmsearch.train.mini.heads import Heads, Pairs
from mmsearch.train.mini.views import CHANNELS, Views
from mmsearch.train.towers.pictures import boxes, cut, recolour

SHAPE = Convolution(3, 64, (Stage(64, 1, 1), Stage(192, 2), Stage(384, 1)), hidden=1024)
BATCH = 128
ANCHORS = 2048
TEMPERATURE = 0.05
SIDES = ((0.4, 64), (0.7, 80), (1.0, 96))
"""Pixels of a training view up to each share of the steps: it grows, so that the first steps take
half the time (Tan & Le 2021, arXiv 2104.00298). Crops show things larger than whole pictures do,
so what is trained on 96 px suits the 112 px that it will be used on (Touvron et al. 2019,
arXiv 1906.06423)."""
PIXELS_PER_CELL = 16
LEAST = 0.7
"""Share of a view's sides that is always seen."""


class Watcher(nn.Module):
    """A tower with a second head that names the teacher's features; only the tower is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tower: Tower = convolution(SHAPE, DIM)
        self.describe = nn.Conv2d(SHAPE.width, CHANNELS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen as a whole and in each place.

        Args:
            x: (n, 3, side, side) float32.

        Returns:
            (n, 256) L2-normalised rows, and (n, 256, side / 16, side / 16).
        """
        with torch.autocast(x.device.type, torch.bfloat16, has_bf16(x.device)):
            features = self.tower.features(x)
            places = self.describe(features)
        points = self.tower.head(features.float().mean(dim=(2, 3)))
        return normalize(points, dim=1), places.float()


@dataclass
class ImageTask:
    """To say of each view what the heads say, place by place what the teacher says, and its texts.

    Attributes:
        views: The pictures.
        heads: Trained; they turn the teacher's features into points of the space.
        fold: (views,) int64, whose head speaks for each view.
        texts: (texts, 256) float32, the text tower's embeddings; L2-normalised rows.
        pairs: Views with texts.
        seed: Of every random choice.
        device: Where to train.
        steps: Over how many the views grow; of 0 they are as large as ever from the start.
    """

    views: Views
    heads: Heads
    fold: NDArray[np.int64]
    texts: Tensor
    pairs: Pairs
    seed: int
    device: torch.device
    steps: int

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = Watcher().to(self.device)
        self.heads, self.texts = self.heads.to(self.device), self.texts.to(self.device)
        count = min(256, len(self.views))
        some = np.random.default_rng(self.seed).choice(len(self.views), count, replace=False)
        self._spread = torch.from_numpy(self.views.maps(some).astype(np.float32)).var(dim=0).mean()
        self._pair_of = np.full(len(self.views), -1)
        self._pair_of[self.pairs.rows] = np.arange(len(self.pairs.rows))
        self._groups = self.pairs.text_groups(len(self.texts))

    def backward(self, step: int) -> float:
        """A batch of all views."""
        rng = np.random.default_rng([self.seed, 6, step])
        numbers = batch(len(self.views), BATCH, self.seed, step)
        pixels, maps = jitter(
            torch.from_numpy(self.views.pixels(numbers)).to(self.device),
            torch.from_numpy(self.views.maps(numbers)).to(self.device),
            next((side for share, side in SIDES if step < share * self.steps), SIDES[-1][1]),
            rng,
        )
        fold = torch.from_numpy(self.fold[numbers]).to(self.device)
        with torch.no_grad():
            targets = self.heads(maps.mean(dim=(2, 3)), fold)
        points, places = self.model(recolour(pixels, rng))
        loss = (
            mse_loss(places, maps) / self._spread
            + cosine_loss(points, targets)
            + self._texts_loss(points, targets, numbers, rng)
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _texts_loss(
        self, points: Tensor, targets: Tensor, numbers: NDArray[np.int64], rng: np.random.Generator
    ) -> Tensor:
        """How far the nearest of many texts are from the heads' nearest and from the true ones."""
        some = rng.choice(len(self.texts), ANCHORS)
        anchors = self.texts[torch.from_numpy(some)]
        alike = divergence(points @ anchors.T, targets @ anchors.T, TEMPERATURE)
        paired = np.flatnonzero(self._pair_of[numbers] >= 0)
        pairs = self._pair_of[numbers[paired]]
        own = self.texts[torch.from_numpy(self.pairs.draw(pairs, rng))]
        skip = torch.from_numpy(self.pairs.group[pairs][:, None] == self._groups[some])
        skip = skip.to(self.device)
        mine = points[torch.from_numpy(paired)]
        return 0.2 * alike + 0.1 * nearest_loss(mine, own, anchors, skip, TEMPERATURE)

    def evaluate(self) -> dict[str, float]:
        """Nothing is kept for it."""
        return {}


def jitter(
    pixels: Tensor, maps: Tensor, side: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cut, stretch and mirror views, and what was said of their places with them.

    Args:
        pixels: (n, 128, 128, 3).
        maps: (n, 7, 7, channels).
        side: Pixels of what is left.
        rng: Of the cuts: 70 to 100 % of each side.

    Returns:
        (n, 3, side, side) float32, 0 to 255, and (n, channels, side / 16, side / 16) float32.
    """
    box = boxes(len(pixels), LEAST, rng).to(pixels.device)
    return cut(pixels, box, side), cut(maps, box, side // PIXELS_PER_CELL)
