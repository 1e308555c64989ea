"""Towers for texts that heed the order of words, in torch: a recurrent one and a transformer.

Both take texts as their token ids end to end and where each text starts, as ``embedding_bag`` does.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmsearch.encode.towers.attention import stack
from mmsearch.encode.towers.shapes import Gru, Transformer

Texts = tuple[Tensor, Tensor]
"""(ids,) int64 of all texts, and (n,) int64, where each of them starts."""


def pad(texts: Texts, most: int) -> tuple[Tensor, Tensor]:
    """Texts side by side.

    Args:
        texts: Token ids.
        most: Tokens that are kept of a text.

    Returns:
        (n, longest) int64, filled up with zeros, and (n,) int64, the lengths.
    """
    ids, starts = texts
    ends = torch.cat([starts[1:], starts.new_tensor([len(ids)])])
    lengths = (ends - starts).clamp(max=most)
    columns = torch.arange(int(lengths.max()), device=ids.device)
    places = (starts[:, None] + columns).clamp(max=len(ids) - 1)
    return ids[places].masked_fill(columns >= lengths[:, None], 0), lengths


def mean(states: Tensor, lengths: Tensor) -> Tensor:
    """The mean of each text's own states: (n, longest, width) to (n, width)."""
    own = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
    return (states * own[:, :, None]).sum(dim=1) / lengths[:, None]


class _Tower(nn.Module, ABC):
    """What is read at each token, averaged and brought into the space by a head."""

    head: nn.Linear

    @abstractmethod
    def _read(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """What is read at each token, (n, longest, width), and the texts' lengths, (n,)."""

    def places(self, texts: Texts) -> Tensor:
        """What is read at each token: (n, longest, width), the shorter filled up."""
        return self._read(texts)[0]

    def forward(self, texts: Texts) -> Tensor:
        """Embed n texts: (n, dim), L2-normalised rows."""
        return normalize(self.head(mean(*self._read(texts))).float(), dim=1)


class GruTower(_Tower):
    """A gated recurrent network (Cho et al. 2014, arXiv 1406.1078) that reads from both ends."""

    def __init__(self, shape: Gru, dim: int) -> None:
        super().__init__()
        self._tokens = shape.tokens
        self.table = nn.Embedding(shape.vocabulary, shape.width)
        self.states = nn.GRU(shape.width, shape.width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * shape.width, dim)

    def _read(self, texts: Texts) -> tuple[Tensor, Tensor]:
        ids, lengths = pad(texts, self._tokens)
        packed = pack_padded_sequence(
            self.table(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return pad_packed_sequence(self.states(packed)[0], batch_first=True)[0], lengths


class TransformerTower(_Tower):
    """A transformer whose positions are averaged at the end."""

    def __init__(self, shape: Transformer, dim: int) -> None:
        super().__init__()
        self._tokens, width = shape.tokens, shape.blocks.width
        self.table = nn.Embedding(shape.vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(shape.tokens, width))
        self.blocks = stack(shape.blocks)
        self.head = nn.Linear(width, dim)
        for values in (self.table.weight, self.positions):
            nn.init.normal_(values, std=0.02)

    def _read(self, texts: Texts) -> tuple[Tensor, Tensor]:
        ids, lengths = pad(texts, self._tokens)
        columns = torch.arange(ids.shape[1], device=ids.device)
        states = self.blocks(
            self.table(ids) + self.positions[: len(columns)],
            src_key_padding_mask=columns >= lengths[:, None],
        )
        return states, lengths
