"""The networks of :mod:`mmsearch.fuse.learned` while they are trained."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from mmsearch.fuse.candidates import COLUMNS
from mmsearch.fuse.learned import HEADS, LAYERS, LIMIT, Learned
from mmsearch.records import FloatArray, Modality

WIDTH = 32
_SHARPNESS = torch.tensor([0.0, 5.0, 10.0, 20.0])
"""What likeness counts at first in each head: some look at all candidates, some at those alike."""


@dataclass(frozen=True)
class Batch:
    """Candidates of some queries, best first; each has up to n.

    Attributes:
        scores: (queries, n), the default's.
        there: (queries, n) bool; what is not is padding.
        signals: (queries, n, 14).
        likeness: (queries, 3, n, r); 0 for padding.
    """

    scores: Tensor
    there: Tensor
    signals: Tensor
    likeness: Tensor


class Scaled(nn.Module):
    """Columns by their deviation from their mean in a sample; what is constant there is left out.

    Args:
        rows: (n, columns) float32, the sample.
    """

    def __init__(self, rows: FloatArray) -> None:
        super().__init__()
        values = torch.from_numpy(rows).double()
        spread = values.std(dim=0, correction=0)
        scale = torch.where(spread > 1e-6, 1 / spread.clamp(min=1e-6), 0)
        self.mean, self.scale = nn.Buffer(values.mean(dim=0).float()), nn.Buffer(scale.float())

    def forward(self, x: Tensor) -> Tensor:
        """(..., columns) to the same."""
        return ((x - self.mean) * self.scale).clamp(-LIMIT, LIMIT)


class Network(nn.Module):
    """Adds to default scores; starts with nothing."""

    def __init__(self, signals: FloatArray, width: int) -> None:
        super().__init__()
        self.signals = Scaled(signals)
        self.out = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.out.weight)
        self.first = nn.Linear(len(COLUMNS), width)

    def forward(self, batch: Batch) -> Tensor:
        """The scores of (queries, n) candidates, very low for padding."""
        added = self.out(self.seen(batch))[..., 0]
        found: Tensor = (batch.scores + added).masked_fill(~batch.there, -1e9)
        return found

    def seen(self, batch: Batch) -> Tensor:
        """What it makes of candidates, (queries, n, width)."""
        raise NotImplementedError


class Mlp(Network):
    """Two layers over a candidate's signals."""

    def __init__(self, signals: FloatArray) -> None:
        super().__init__(signals, WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)

    def seen(self, batch: Batch) -> Tensor:
        """(queries, n, width)."""
        first = gelu(self.first(self.signals(batch.signals)), approximate="tanh")
        found: Tensor = gelu(self.hidden(first), approximate="tanh")
        return found


class Attention(Network):
    """A small transformer over the candidates of a query."""

    def __init__(self, signals: FloatArray) -> None:
        super().__init__(signals, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.normed = nn.LayerNorm(WIDTH)

    def seen(self, batch: Batch) -> Tensor:
        """(queries, n, width)."""
        x = self.first(self.signals(batch.signals))
        for layer in self.layers:
            x = layer(x, batch.likeness, batch.there)
        found: Tensor = self.normed(x)
        return found


class Layer(nn.Module):
    """Attention of all candidates to the first ones, then two layers over each."""

    def __init__(self) -> None:
        super().__init__()
        self.before_mixing = nn.LayerNorm(WIDTH)
        self.into_heads = nn.Linear(WIDTH, 3 * WIDTH)
        self.likeness = nn.Parameter(_SHARPNESS[:, None].repeat(1, len(Modality)))
        self.out_of_heads = nn.Linear(WIDTH, WIDTH)
        self.before_up = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor, likeness: Tensor, there: Tensor) -> Tensor:
        """(queries, n, width) to the same."""
        x = x + self._mixed(self.before_mixing(x), likeness, there)
        found: Tensor = x + self.down(gelu(self.up(self.before_up(x)), approximate="tanh"))
        return found

    def _mixed(self, x: Tensor, likeness: Tensor, there: Tensor) -> Tensor:
        rows = self.into_heads(x).unflatten(2, (3, HEADS, -1))
        queries, keys, values = rows.permute(2, 0, 3, 1, 4)  # (queries, heads, n, width / heads)
        rivals = likeness.shape[3]
        keys, values = keys[:, :, :rivals], values[:, :, :rivals]
        logits = queries @ keys.mT / math.sqrt(queries.shape[3])
        logits = logits + torch.einsum("hm,qmnr->qhnr", self.likeness, likeness)
        logits = logits.masked_fill(~there[:, None, None, :rivals], -1e9)
        mixed = (logits.softmax(dim=3) @ values).transpose(1, 2).flatten(2)
        found: Tensor = self.out_of_heads(mixed)
        return found


def network(kind: Learned, signals: FloatArray) -> Network:
    """A scorer that adds nothing yet.

    Args:
        kind: Which.
        signals: (n, 14) float32, those of candidates that it will be trained on.
    """
    return Mlp(signals) if kind is Learned.MLP else Attention(signals)


def arrays(network: Network) -> dict[str, FloatArray]:
    """The weights as :mod:`mmsearch.fuse.learned` takes them."""
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}
