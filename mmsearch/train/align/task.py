"""What alignment learns: heads that bring the pairs of frozen embeddings together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.encode.heads import Head
from mmsearch.records import Modality
from mmsearch.train.align.heads import TorchHead
from mmsearch.train.align.options import Similarity
from mmsearch.train.batches import batch
from mmsearch.train.caching import backward_in_parts
from mmsearch.train.figures import Figures, hits, mean_figures
from mmsearch.train.losses import Criterion, Loss
from mmsearch.train.pairs import Pairing


@dataclass(frozen=True)
class Sizes:
    """How many pairs a step takes.

    Attributes:
        batch: Pairs whose loss is taken together.
        part: Pairs whose graph is in memory at a time; fewer than ``batch`` saves memory and costs
            one more forward pass.
    """

    batch: int
    part: int


class Aligner(nn.Module):
    """Heads by modality, the matrices of a bilinear similarity, and what the loss learns."""

    def __init__(
        self, heads: Mapping[Modality, TorchHead], loss: Loss, similarity: Similarity
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({str(modality): head for modality, head in heads.items()})
        self.folds = nn.ParameterDict()
        if similarity is Similarity.BILINEAR:
            for modality in sorted(heads)[:-1]:
                self.folds[str(modality)] = nn.Parameter(torch.eye(heads[modality].dim))
        self.criterion = Criterion(loss)

    def forward(self, modality: Modality, x: Tensor) -> Tensor:
        """Map frozen embeddings to where inner products compare: (n, inputs) to (n, dim)."""
        y: Tensor = self.heads[str(modality)](x)
        if str(modality) in self.folds:
            y = y @ self.folds[str(modality)].T
        return y

    def numpy_heads(self) -> dict[Modality, Head]:
        """The heads as an index uses them."""
        found = {}
        for name, head in self.heads.items():
            assert isinstance(head, TorchHead)
            arrays = head.arrays()
            if name in self.folds:
                arrays["fold"] = self.folds[name].detach().cpu().numpy()
            found[Modality(name)] = Head(head.kind, arrays)
        return found


class AlignTask:
    """Heads on frozen embeddings learn from pairs.

    Args:
        model: Trained in place.
        features: By modality (parts, inputs) float32, the frozen embeddings.
        train: The pairs to learn from.
        validation: The pairs that decide when to stop.
        sizes: Of a step.
        seed: Of the order.
    """

    def __init__(
        self,
        model: Aligner,
        features: Mapping[Modality, Tensor],
        train: Sequence[Pairing],
        validation: Sequence[Pairing],
        sizes: Sizes,
        seed: int,
    ) -> None:
        self.model = model
        self._features, self._train, self._validation = features, train, validation
        self._sizes, self._seed = sizes, seed
        self._device = next(model.parameters()).device

    def backward(self, step: int) -> float:
        """One batch of every pairing; their losses are added."""
        return sum(self._backward(pairing, step) for pairing in self._train)

    def _backward(self, pairing: Pairing, step: int) -> float:
        size = min(self._sizes.batch, len(pairing.rows))
        chosen = pairing.take(batch(len(pairing.rows), size, self._seed, step))
        same = chosen.same().to(self._device)
        return backward_in_parts(
            np.array_split(chosen.rows, -(-size // self._sizes.part)),
            partial(self._embed, pairing),
            lambda both: self.model.criterion(both[0] @ both[1].T, same),
        )

    def _embed(self, pairing: Pairing, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """What the heads say of the two sides of some pairs."""
        return self._side(pairing.left, rows[:, 0]), self._side(pairing.right, rows[:, 1])

    def _side(self, modality: Modality, rows: NDArray[np.int64]) -> Tensor:
        inputs = self._features[modality][torch.from_numpy(rows)].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, self._device.type == "cuda"):
            outputs: Tensor = self.model(modality, inputs)
        return outputs.float()

    def evaluate(self) -> dict[str, float]:
        """The validation pairs' mean reciprocal rank, and their hits, over all directions."""
        return mean_figures([self.figures(pairing) for pairing in self._validation])

    def figures(self, pairing: Pairing) -> tuple[Figures, Figures]:
        """How well each side of pairs finds the other."""
        left, right = pairing.members
        with torch.no_grad():
            scores = self._side(pairing.left, left) @ self._side(pairing.right, right).T
        return hits(scores.cpu().numpy(), pairing)
