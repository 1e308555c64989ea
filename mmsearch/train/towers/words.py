"""Texts to train on: a vocabulary of our own, token ids, and a table of token vectors."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize

from mmsearch.encode.towers.weights import UNKNOWN
from mmsearch.encode.towers.words import Texts

VOCABULARY = 24_000
UNKNOWN_PIECE = "[UNK]"


def train_vocabulary(texts: Sequence[str]) -> Tokenizer:
    """Learn word pieces from texts: lower case, accents removed, at most 24,000 pieces.

    The trainer numbers the letters within words in the order of a hash map, which differs from
    process to process, and breaks ties between pieces by these numbers. Given as special tokens the
    letters have numbers of ours, and the same texts yield the same pieces.
    """
    learner = _tokenizer({})
    inner = sorted({letter for word in _words(learner, texts) for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=[UNKNOWN_PIECE, *(f"##{letter}" for letter in inner)],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    return _tokenizer(learner.get_vocab())  # without what is special


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token=UNKNOWN_PIECE, max_input_chars_per_word=40)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> set[str]:
    """The words that the tokenizer cuts into pieces."""
    plain = map(tokenizer.normalizer.normalize_str, texts)
    return {word for text in plain for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}


class TokenTable(nn.Module):
    """Texts as sums of token vectors."""

    def __init__(self, rows: Tensor) -> None:
        """Start with given vectors: (vocabulary, dim) float32."""
        super().__init__()
        self.rows = nn.Parameter(rows.clone())

    def forward(self, texts: Texts) -> Tensor:
        """Embed n texts: (n, dim), L2-normalised rows."""
        return normalize(embedding_bag(texts[0], self.rows, texts[1], mode="sum"), dim=1)


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

    def __getitem__(self, numbers: NDArray[np.int64]) -> Texts:
        """Ids of some texts and where each text starts, as ``embedding_bag`` takes them."""
        parts = [self.ids[self.ends[at] : self.ends[at + 1]] for at in numbers]
        starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
        return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(starts)
