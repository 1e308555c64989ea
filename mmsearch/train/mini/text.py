"""The text stage: a vocabulary of our own and a table of token vectors."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize

from mmsearch.encode.mini.text import UNKNOWN
from mmsearch.encode.mini.weights import DIM
from mmsearch.records import FloatArray
from mmsearch.train.losses import cosine_loss, similarity_loss

log = logging.getLogger(__name__)

VOCABULARY = 24_000
BATCH = 1024


def train_vocabulary(texts: Sequence[str]) -> Tokenizer:
    """Learn word pieces from texts: lower case, accents removed, 24,000 pieces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, min_frequency=2, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class TokenTable(nn.Module):
    """Texts as sums of token vectors."""

    def __init__(self, rows: Tensor) -> None:
        """Start with given vectors: (vocabulary, 256) float32."""
        super().__init__()
        self.rows = nn.Parameter(rows.clone())

    def forward(self, bags: tuple[Tensor, Tensor]) -> Tensor:
        """Embed bags of token ids: (n, 256), L2-normalised rows."""
        return normalize(embedding_bag(bags[0], self.rows, bags[1], mode="sum"), dim=1)


class Bags:
    """Token ids of many texts, kept end to end."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ids = [entry.ids or [UNKNOWN] for entry in encoded]
        self.ends = np.cumsum([0] + [len(entry) for entry in ids])
        self.ids = np.concatenate([np.array(entry, np.int64) for entry in ids])

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.ends) - 1

    def __getitem__(self, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Ids of some texts and where each text starts, as ``embedding_bag`` takes them."""
        parts = [self.ids[self.ends[at] : self.ends[at + 1]] for at in numbers]
        starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
        return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(starts)


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
