"""The head stage: from the image teacher's outputs into the space, and the text table to meet it.

What the heads say of a picture is what the image tower learns from.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmsearch.encode.mini.weights import DIM
from mmsearch.train.data import Picture
from mmsearch.train.losses import contrastive_loss, cosine_loss
from mmsearch.train.text import Bags, TokenTable, batches

log = logging.getLogger(__name__)

BATCH = 512
EPOCHS = 8
HEADS = 3
TEMPERATURE = 0.05


@dataclass(frozen=True)
class Pairs:
    """Which texts belong to which picture.

    Attributes:
        rows: (n,) int64, the views that have texts.
        first: (n,) int64, the first text of each one's picture.
        count: (n,) int64, how many texts it has.
        group: (n,) int64, equal where texts fit both: the same picture, or the same class.
    """

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    group: NDArray[np.int64]

    def draw(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A random text for each of some pairs."""
        return self.first[numbers] + rng.integers(0, self.count[numbers])

    def same(self, numbers: NDArray[np.int64]) -> Tensor:
        """(n, n) bool: whose texts fit whom."""
        group = torch.from_numpy(self.group[numbers])
        return group[:, None] == group[None]


def pair_up(pictures: Sequence[Picture], owners: NDArray[np.int64]) -> tuple[Pairs, list[str]]:
    """Find the views with texts, and list those texts.

    Args:
        pictures: All training pictures.
        owners: (views,) int64, the picture that each view is of.
    """
    texts: list[str] = []
    first, count, group = (np.zeros(len(pictures), np.int64) for _ in range(3))
    for number, picture in enumerate(pictures):
        first[number], count[number] = len(texts), len(picture.texts)
        texts += picture.texts
        # pictures with captions are their own group; those of a class share its one sentence
        shared = len(picture.texts) == 1
        group[number] = -1 - crc32(picture.texts[0].encode()) if shared else number
    rows = np.flatnonzero(count[owners])
    chosen = owners[rows]
    return Pairs(rows, first[chosen], count[chosen], group[chosen]), texts


class Heads(nn.Module):
    """Several two-layer heads whose mean is steadier than each of them."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(0.2),
                nn.Linear(inputs, 1536),
                nn.GELU(),
                nn.Dropout(0.6),
                nn.Linear(1536, DIM),
            )
            for _ in range(HEADS)
        )

    def each(self, x: Tensor) -> list[Tensor]:
        """What every head says: (n, 256) each, L2-normalised rows."""
        with torch.autocast("cpu", torch.bfloat16):
            outputs = [member(x) for member in self.members]
        return [normalize(output.float(), dim=1) for output in outputs]

    def forward(self, x: Tensor) -> Tensor:
        """The normalised mean of the heads: (n, 256)."""
        return normalize(torch.stack(self.each(x)).sum(dim=0), dim=1)


def train_heads(table: TokenTable, inputs: Tensor, pairs: Pairs, bags: Bags, seed: int) -> Heads:
    """Train heads and token vectors contrastively; texts stay near where they were.

    Args:
        table: Trained in place.
        inputs: (views, 2025) float32, the scaled outputs of the teacher.
        pairs: Views with texts.
        bags: The texts.
        seed: Of the heads' start and of the order.
    """
    torch.manual_seed(seed)
    heads = Heads(inputs.shape[1])
    with torch.no_grad():
        before = table(bags[np.arange(len(bags))])
    groups = [
        {"params": heads.parameters(), "lr": 1e-3, "weight_decay": 0.1},
        {"params": table.parameters(), "lr": 1e-3, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = EPOCHS * (len(pairs.rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.1)
    rng = np.random.default_rng([seed, 4])
    heads.train()
    for epoch in range(EPOCHS):
        for numbers in batches(len(pairs.rows), BATCH, rng):
            chosen = pairs.draw(numbers, rng)
            texts, same = table(bags[chosen]), pairs.same(numbers)
            images = heads.each(inputs[torch.from_numpy(pairs.rows[numbers])])
            loss = 0.5 * HEADS * cosine_loss(texts, before[torch.from_numpy(chosen)])
            for image in images:
                loss = loss + contrastive_loss(image, texts, same, TEMPERATURE)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        log.info("heads: epoch %d, loss %.4f", epoch + 1, loss.item())
    return heads.eval()
