"""The image stage: a tower of our own learns to see what the teacher sees, in words' terms."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, mse_loss, normalize

from mmsearch.encode.mini.features import IMAGE_SIDE
from mmsearch.encode.mini.shapes import Shape, Stage
from mmsearch.encode.mini.towers import Tower, build
from mmsearch.train.batches import batch
from mmsearch.train.losses import cosine_loss, divergence, nearest_loss
from mmsearch.train.mini.heads import Heads, Pairs
from mmsearch.train.mini.views import CHANNELS, Views

SHAPE = Shape(3, 64, (Stage(64, 1, 1), Stage(192, 2), Stage(384, 1)), hidden=1024)
BATCH = 128
ANCHORS = 2048
TEMPERATURE = 0.05
CELLS = 7


class Watcher(nn.Module):
    """A tower with a second head that names the teacher's features; only the tower is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tower: Tower = build(SHAPE)
        self.describe = nn.Conv2d(SHAPE.width, CHANNELS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen as a whole and in each place.

        Args:
            x: (n, 3, 112, 112) float32.

        Returns:
            (n, 256) L2-normalised rows, and (n, 256, 7, 7).
        """
        with torch.autocast(x.device.type, torch.bfloat16):
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
    """

    views: Views
    heads: Heads
    fold: NDArray[np.int64]
    texts: Tensor
    pairs: Pairs
    seed: int
    device: torch.device

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
        loss.backward()
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


def jitter(pixels: Tensor, maps: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cut, stretch and mirror views, and what was said of their places with them.

    Args:
        pixels: (n, 128, 128, 3).
        maps: (n, 7, 7, channels).
        rng: Of the cuts: 70 to 100 % of each side.

    Returns:
        (n, 3, 112, 112) float32, 0 to 255, and (n, channels, 7, 7) float32.
    """
    size = rng.uniform(0.7, 1.0, (len(pixels), 2))
    shift = (1 - size) * rng.uniform(-1, 1, (len(pixels), 2))
    mirror = rng.choice([-1.0, 1.0], len(pixels))
    theta = np.zeros((len(pixels), 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = size[:, 0] * mirror, size[:, 1], shift
    box = torch.from_numpy(theta).to(pixels.device)
    return _cut(pixels, box, IMAGE_SIDE), _cut(maps, box, CELLS)


def _cut(x: Tensor, box: Tensor, side: int) -> Tensor:
    """Sample a square from a part of each row: (n, h, w, c) to (n, c, side, side) float32."""
    grid = affine_grid(box, [len(x), x.shape[3], side, side], align_corners=False)
    rows = x.float().permute(0, 3, 1, 2)
    return grid_sample(rows, grid, padding_mode="border", align_corners=False)


def recolour(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast and the balance of colours a little: within -1 to 1."""
    gain, tint, shift = (
        torch.from_numpy(rng.uniform(low, high, (len(x), channels, 1, 1)).astype(np.float32))
        for low, high, channels in ((0.8, 1.2, 1), (0.93, 1.07, 3), (-0.1, 0.1, 1))
    )
    scaled = (x / 127.5 - 1.0) * (gain * tint).to(x.device) + shift.to(x.device)
    return scaled.clamp(-1, 1).contiguous(memory_format=torch.channels_last)
