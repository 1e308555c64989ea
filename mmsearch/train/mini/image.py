"""The image stage: a tower of our own learns to say what the heads say of each picture."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, smooth_l1_loss

from mmsearch.encode.mini.features import IMAGE_SIDE
from mmsearch.encode.mini.towers import SIZES, Tower, build, image_input
from mmsearch.train.heads import TEMPERATURE, Pairs
from mmsearch.train.loop import Loop, Plan
from mmsearch.train.losses import contrastive_loss, cosine_loss, similarity_loss
from mmsearch.train.text import batches
from mmsearch.train.views import VIEW_SIDE, Views

log = logging.getLogger(__name__)

BATCH = 96
SMALLEST_CROP = 112


def scale(teacher: NDArray[np.float16]) -> Tensor:
    """Bring the teacher's outputs to mean 0 and deviation 1: (n, 2025) float32.

    Square roots bring the many small class scores nearer to the few large ones.
    """
    rooted = np.sqrt(np.maximum(teacher.astype(np.float32), 0))
    scaled = (rooted - rooted.mean(axis=0)) / (rooted.std(axis=0) + 1e-2)
    return torch.from_numpy(np.clip(scaled, -6, 6))


def augment(pixels: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """A batch as the tower takes it, changed a little: (n, 3, 112, 112) float32.

    Each picture is mirrored or not and changed in brightness, contrast and colour; the whole batch
    is cropped by up to an eighth, little enough that the teacher's words still hold.
    """
    side = int(rng.integers(SMALLEST_CROP, VIEW_SIDE + 1))
    top, left = rng.integers(0, VIEW_SIDE - side + 1, 2)
    x = image_input(torch.from_numpy(pixels[:, top : top + side, left : left + side]))
    if side != IMAGE_SIDE:
        x = interpolate(x, (IMAGE_SIDE, IMAGE_SIDE), mode="bilinear")
    mirrored = torch.from_numpy(rng.random(len(x)) < 0.5)
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    gain = torch.from_numpy(rng.uniform(0.75, 1.25, (len(x), 3, 1, 1)).astype(np.float32))
    gain = (gain + gain.mean(dim=1, keepdim=True)) / 2
    shift = torch.from_numpy(rng.uniform(-0.15, 0.15, (len(x), 1, 1, 1)).astype(np.float32))
    return (x * gain + shift).contiguous(memory_format=torch.channels_last)


class Watcher(nn.Module):
    """A tower with a second head that names the teacher's outputs; only the tower is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tower: Tower = build("image")
        self.teacher_head = nn.Linear(SIZES["image"][1][-1], 2025)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points of the space, not yet of unit length, and guesses of the teacher's outputs."""
        with torch.autocast("cpu", torch.bfloat16):
            pooled = self.tower.pool(x)
        pooled = pooled.float()
        return self.tower.head(pooled), self.teacher_head(pooled)


@dataclass(frozen=True)
class Lesson:
    """What the tower is to say of each view, and the texts that some of them have.

    Attributes:
        teacher: (views, 2025) float32, the scaled outputs of the image teacher.
        targets: (views, 256) float32, what the heads say; L2-normalised rows.
        pairs: Views with texts.
        texts: (texts, 256) float32, the text tower's embeddings.
    """

    teacher: Tensor
    targets: Tensor
    pairs: Pairs
    texts: Tensor

    def loss(
        self, points: Tensor, rows: Tensor, paired: NDArray[np.int64], rng: np.random.Generator
    ) -> Tensor:
        """How far a batch is from its targets, and its last views from their texts.

        Args:
            points: (n, 256), L2-normalised rows.
            rows: (n,) int64, the views; the last ones are ``pairs.rows[paired]``.
            paired: (m,) int64.
            rng: Chooses one text for each of the last views.
        """
        targets = self.targets[rows]
        texts = self.texts[torch.from_numpy(self.pairs.draw(paired, rng))]
        contrast = contrastive_loss(
            points[-len(paired) :], texts, self.pairs.same(paired), TEMPERATURE
        )
        alike = similarity_loss(points, targets, temperature=0.1)
        return cosine_loss(points, targets) + 0.2 * alike + 0.2 * contrast


def train_image(views: Views, lesson: Lesson, out: Path, plan: Plan) -> Tower:
    """Train the image tower: to say what the heads say, and to meet its captions.

    Half of each batch is drawn from all views, half from those with texts, for the contrast.
    """
    torch.manual_seed(plan.seed)
    watcher, half = Watcher(), BATCH // 2
    optimizer = torch.optim.AdamW(watcher.parameters(), lr=2e-3, weight_decay=0.02)
    loop = Loop(watcher, optimizer, plan.steps, out)
    rng = np.random.default_rng([plan.seed, 6, loop.done])
    while loop.running:
        for anything in batches(len(views.pixels), half, rng):
            paired = rng.choice(len(lesson.pairs.rows), half, replace=False)
            numbers = np.concatenate([anything, lesson.pairs.rows[paired]])
            rows = torch.from_numpy(numbers)
            points, guess = watcher(augment(views.pixels[numbers], rng))
            loss = lesson.loss(normalize(points, dim=1), rows, paired, rng)
            loop.step(loss + smooth_l1_loss(guess, lesson.teacher[rows]))
    return watcher.tower.eval()
