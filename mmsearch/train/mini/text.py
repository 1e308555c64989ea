"""The text stage: a table of token vectors learns what the text teacher says."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.encode.mini import DIM
from mmsearch.records import FloatArray
from mmsearch.train.losses import cosine_loss, similarity_loss
from mmsearch.train.towers.words import Bags, TokenTable

log = logging.getLogger(__name__)

BATCH = 1024


def principal_axes(vectors: FloatArray) -> FloatArray:
    """The 256 directions that keep most of the teacher's inner products: (384, 256) float32."""
    _, axes = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    return np.ascontiguousarray(axes[:, ::-1][:, :DIM], np.float32)


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """One epoch of random batches, all of the same size."""
    order = rng.permutation(count)
    for at in range(0, count - size + 1, size):
        yield order[at : at + size]


def train_table(bags: Bags, size: int, targets: Tensor, epochs: int, seed: int) -> TokenTable:
    """Fit token vectors to the teacher's embeddings of the texts.

    Args:
        bags: The texts.
        size: Number of tokens in the vocabulary.
        targets: (n, 256) float32, L2-normalised rows.
        epochs: Passes over the texts.
        seed: Of the initial rows and the order.
    """
    torch.manual_seed(seed)
    table = TokenTable(torch.randn(size, DIM) * 0.02)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=epochs * (len(bags) // BATCH), pct_start=0.1
    )
    rng = np.random.default_rng([seed, 3])
    for epoch in range(epochs):
        for numbers in batches(len(bags), BATCH, rng):
            student, target = table(bags[numbers]), targets[torch.from_numpy(numbers)]
            loss = cosine_loss(student, target) + 0.1 * similarity_loss(student, target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        log.info("text: epoch %d, loss %.4f", epoch + 1, loss.item())
    return table
