"""The head stage: from the image teacher's features into the space, and the token table to meet it.

What the heads say of a picture is what the image tower learns from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmsearch.encode.mini import DIM
from mmsearch.train.batches import batch
from mmsearch.train.losses import cosine_loss, info_nce
from mmsearch.train.mini.data import Picture
from mmsearch.train.towers.words import Bags, TokenTable

BATCH = 512
FOLDS = 4
HIDDEN = 1024
TEMPERATURE = 0.05
STAY = 2.0
"""Weight of each text's wish to stay where it was."""


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

    def text_groups(self, texts: int) -> NDArray[np.int64]:
        """(texts,) int64, the group that each text belongs to."""
        found = np.zeros(texts, np.int64)
        for first, count, group in zip(self.first, self.count, self.group, strict=True):
            found[first : first + count] = group
        return found

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
    """One two-layer head for each fold of the pictures, trained without the texts of that fold.

    So what they say of a training picture is what they would say of a new one: a head that has
    seen a picture's captions knows them by heart, which is not to be learned from its pixels.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(0.1),
                nn.Linear(inputs, HIDDEN),
                nn.GELU(),
                nn.Dropout(0.5),
                nn.Linear(HIDDEN, DIM),
            )
            for _ in range(FOLDS)
        )

    def forward(self, x: Tensor, fold: Tensor) -> Tensor:
        """What the heads say of features: (n, 256), L2-normalised rows.

        Args:
            x: (n, inputs).
            fold: (n,) int64, whose head alone is to speak; -1 for the mean of all.
        """
        each = torch.stack([normalize(member(x), dim=1) for member in self.members])
        alone = each[fold.clamp(min=0), torch.arange(len(x))]
        mean = normalize(each.sum(dim=0), dim=1)
        return torch.where(fold[:, None] < 0, mean, alone)


def folds(pairs: Pairs, owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fold of each view: (views,) int64; -1 where the picture has no texts."""
    found = np.full(len(owners), -1, np.int64)
    found[pairs.rows] = owners[pairs.rows] % FOLDS
    return found


@dataclass
class HeadsTask:
    """Heads and token vectors meet contrastively; texts stay near where they were.

    Attributes:
        heads: Start at random.
        table: Trained with them.
        inputs: (views, channels) float32, the teacher's features of whole views.
        fold: (views,) int64, see ``folds``.
        pairs: Views with texts.
        bags: The texts.
        seed: Of the order.
    """

    heads: Heads
    table: TokenTable
    inputs: Tensor
    fold: NDArray[np.int64]
    pairs: Pairs
    bags: Bags
    seed: int

    def __post_init__(self) -> None:
        self.model = nn.ModuleDict({"heads": self.heads, "table": self.table})
        with torch.no_grad():
            self._before = self.table(self.bags[np.arange(len(self.bags))])

    def backward(self, step: int) -> float:
        """The texts of a batch against the pictures of every head that may know them."""
        numbers = batch(len(self.pairs.rows), BATCH, self.seed, step)
        rng = np.random.default_rng([self.seed, 4, step])
        chosen, views = self.pairs.draw(numbers, rng), self.pairs.rows[numbers]
        texts, same = self.table(self.bags[chosen]), self.pairs.same(numbers)
        inputs, fold = self.inputs[torch.from_numpy(views)], torch.from_numpy(self.fold[views])
        loss = STAY * cosine_loss(texts, self._before[torch.from_numpy(chosen)])
        for number, member in enumerate(self.heads.members):
            may = fold != number
            images = normalize(member(inputs[may]), dim=1)
            contrast = info_nce(images @ texts[may].T / TEMPERATURE, same[may][:, may])
            loss = loss + contrast / FOLDS
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def evaluate(self) -> dict[str, float]:
        """Nothing is kept for it."""
        return {}
