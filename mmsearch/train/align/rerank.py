"""Re-rankers learn from pairs, each against what the base model would mistake for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu

from mmsearch.encode.cross import CrossAttention, padded
from mmsearch.encode.rerank import PairKind
from mmsearch.errors import TrainingError
from mmsearch.records import FloatArray
from mmsearch.train.batches import batch
from mmsearch.train.figures import Figures, hits, mean_figures
from mmsearch.train.pairs import Pairing
from mmsearch.train.places import Places

CANDIDATES = 50
"""How many of the base model's first candidates wrong answers are drawn from; the depth of use."""

WRONG = 15
TOGETHER = 16
"""Queries whose candidates are judged at once."""

TEMPERATURE = 0.05
BLOCK = 512


class MlpNetwork(nn.Module):
    """:class:`mmsearch.encode.rerank.MlpScorer` while it is trained; starts at 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = min(512, 2 * dim)
        last = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(last.weight)
        self.layers = nn.ModuleDict({"in": nn.Linear(4 * dim, hidden), "out": last})
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, dim) and (n, dim) to (n,)."""
        both = torch.cat([x, y, x * y, (x - y).abs()], dim=1)
        hidden = gelu(self.layers["in"](both), approximate="tanh")
        found: Tensor = self.layers["out"](self.dropout(hidden))[:, 0]
        return found


@dataclass(frozen=True)
class Side:
    """One modality of a pairing.

    Attributes:
        vectors: (parts, dim) float32, the base model's embeddings; rows of unit length.
        places: Local features of the same parts, for cross-attention.
    """

    vectors: FloatArray
    places: Places | None


@dataclass(frozen=True)
class Matched:
    """A pairing ready for training: its pairs, and what stands near each part.

    Attributes:
        kind: Space and modalities.
        pairing: The pairs.
        left: The one side.
        right: The other.
    """

    kind: PairKind
    pairing: Pairing
    left: Side
    right: Side

    def nearest(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The wrong candidates nearest to each pair's left and right part: (pairs, <= 50) int64."""
        left, right = self.pairing.members
        x, y = self.left.vectors[left], self.right.vectors[right]
        forward = _nearest(x, y, lambda block: self.pairing.fits(left[block], right))
        backward = _nearest(y, x, lambda block: self.pairing.fits(left, right[block]).T)
        rows, columns = self.pairing.rows.T
        return (
            right[forward[np.searchsorted(left, rows)]],
            left[backward[np.searchsorted(right, columns)]],
        )


def _nearest(
    queries: FloatArray, gallery: FloatArray, fits: Callable[[slice], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """For each query the rows of the gallery nearest to it that do not fit it.

    Args:
        queries: (n, dim).
        gallery: (m, dim).
        fits: Of some of the queries, (some, m).

    Returns:
        (n, at most 50); where a query has fewer wrong answers, they come again.

    Raises:
        TrainingError: A query has none.
    """
    depth = min(CANDIDATES, len(gallery))
    found = []
    for at in range(0, len(queries), BLOCK):
        block = slice(at, at + BLOCK)
        right = fits(block)
        wrong = len(gallery) - right.sum(axis=1)
        if not wrong.all():
            raise TrainingError("a part fits every other: there is nothing wrong to tell it from")
        scores = np.where(right, -np.inf, queries[block] @ gallery.T)
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)
        again = np.arange(depth) % np.minimum(wrong, depth)[:, None]
        found.append(np.take_along_axis(best, again, 1))
    return np.concatenate(found)


class RerankTask:
    """Networks learn to tell right answers from the base model's near misses.

    The score of a pair is its cosine plus what the network adds; the loss is InfoNCE over the right
    answer and 15 wrong ones, asked from either side.

    Args:
        train: What to learn from.
        validation: The pairs that decide when to stop.
        batch_size: Pairs of a step.
        seed: Of every random choice.
        device: Where to train.
    """

    def __init__(
        self,
        train: Sequence[Matched],
        validation: Sequence[Matched],
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._train, self._validation = train, validation
        self._batch_size, self._seed, self._device = batch_size, seed, device
        self._nearest = [matched.nearest() for matched in train]
        torch.manual_seed(seed)
        self.model = nn.ModuleDict({str(m.kind): _network(m) for m in train}).to(device)

    def backward(self, step: int) -> float:
        """One batch of every pairing, asked from both sides."""
        losses = [
            self._loss(matched, nearest, step)
            for matched, nearest in zip(self._train, self._nearest, strict=True)
        ]
        loss = torch.stack(losses).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _loss(
        self, matched: Matched, nearest: tuple[NDArray[np.int64], NDArray[np.int64]], step: int
    ) -> Tensor:
        count = len(matched.pairing.rows)
        chosen = batch(count, min(self._batch_size, count), self._seed, step)
        rng = np.random.default_rng([self._seed, 22, step])
        left, right = matched.pairing.rows[chosen].T
        found = []
        for own, wrong, flip in ((right, nearest[0], False), (left, nearest[1], True)):
            drawn = rng.integers(0, wrong.shape[1], (len(chosen), WRONG))
            others = np.concatenate([own[:, None], wrong[chosen[:, None], drawn]], axis=1)
            asked = np.repeat(left if not flip else right, WRONG + 1)
            pairs = (asked, others.ravel()) if not flip else (others.ravel(), asked)
            scores = self._scores(matched, *pairs).reshape(len(chosen), WRONG + 1)
            found.append(cross_entropy(scores / TEMPERATURE, torch.zeros_like(scores[:, 0]).long()))
        return torch.stack(found).mean()

    def _scores(
        self, matched: Matched, left: NDArray[np.int64], right: NDArray[np.int64]
    ) -> Tensor:
        """Cosine plus correction of some pairs: (n,)."""
        x, y = (
            torch.from_numpy(side.vectors[rows]).to(self._device)
            for side, rows in ((matched.left, left), (matched.right, right))
        )
        network = self.model[str(matched.kind)]
        if matched.left.places is None or matched.right.places is None:
            added: Tensor = network(x, y)
        else:
            added = network(
                _stack(matched.left.places, left, self._device),
                _stack(matched.right.places, right, self._device),
            )
        return (x * y).sum(dim=1) + added

    def evaluate(self) -> dict[str, float]:
        """The validation pairs' figures after re-ranking, over all directions."""
        return mean_figures([self.figures(matched) for matched in self._validation])

    def figures(self, matched: Matched) -> tuple[Figures, Figures]:
        """How well each side of pairs finds the other, the first 50 candidates judged anew."""
        left, right = matched.pairing.members
        cosines = matched.left.vectors[left] @ matched.right.vectors[right].T
        forward = self._reranked(matched, cosines, left, right, flip=False)
        backward = self._reranked(matched, cosines.T, right, left, flip=True)
        return hits(forward, matched.pairing)[0], hits(backward.T, matched.pairing)[1]

    def _reranked(
        self,
        matched: Matched,
        cosines: FloatArray,
        asked: NDArray[np.int64],
        found: NDArray[np.int64],
        *,
        flip: bool,
    ) -> FloatArray:
        """Scores of all pairs: (queries, gallery), the first candidates' by the network."""
        scores = np.array(cosines, np.float32)
        depth = min(CANDIDATES, scores.shape[1])
        for at in range(0, len(asked), TOGETHER):
            queries = asked[at : at + TOGETHER]
            rows = np.arange(at, at + len(queries))[:, None]
            best = np.argsort(-scores[rows[:, 0]], axis=1)[:, :depth]
            pairs = (np.repeat(queries, depth), found[best].ravel())
            with torch.no_grad():
                judged = self._scores(matched, *(pairs if not flip else pairs[::-1]))
            scores[rows, best] = judged.cpu().numpy().reshape(best.shape) + FIRST
        return scores


FIRST = 10.0
"""Keeps what was judged anew before what was not."""


def _network(matched: Matched) -> nn.Module:
    if matched.left.places is None or matched.right.places is None:
        return MlpNetwork(matched.left.vectors.shape[1])
    return CrossAttention(matched.left.places.width, matched.right.places.width)


def _stack(places: Places, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    x, nothing = padded([places[int(row)] for row in rows])
    return x.to(device), nothing.to(device)


def arrays(model: nn.ModuleDict) -> dict[str, dict[str, FloatArray]]:
    """The trained networks as an index uses them."""
    found = {}
    for name, network in model.items():
        state = (
            network.layers.state_dict() if isinstance(network, MlpNetwork) else network.state_dict()
        )
        found[name] = {key: value.cpu().numpy().astype(np.float32) for key, value in state.items()}
    return found
