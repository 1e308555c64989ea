"""What towers learn: to bring pairs together, and to say what a teacher says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmsearch.records import Modality
from mmsearch.train.batches import batch
from mmsearch.train.caching import backward_in_parts
from mmsearch.train.figures import Figures, hits, mean_figures
from mmsearch.train.losses import Criterion, Loss, cosine_loss, similarity_loss
from mmsearch.train.pairs import Pairing
from mmsearch.train.towers.inputs import Inputs, Mixing

EVALUATED = 256
"""Samples that are embedded at a time where nothing is learned."""

ALIKE = 0.1
"""Weight of the batch's similarities beside the cosine, where a teacher is followed."""


class Towers(nn.Module):
    """Towers by modality, what the loss learns, and maps to teachers of other dims."""

    def __init__(
        self, towers: Mapping[Modality, nn.Module], loss: Loss, maps: Mapping[Modality, nn.Module]
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({str(modality): tower for modality, tower in towers.items()})
        self.maps = nn.ModuleDict({str(modality): one for modality, one in maps.items()})
        self.criterion = Criterion(loss)

    @property
    def by_modality(self) -> dict[Modality, nn.Module]:
        """The towers alone."""
        return {Modality(name): tower for name, tower in self.towers.items()}

    def follow(self, modality: Modality, points: Tensor, targets: Tensor) -> Tensor:
        """How far points are from what a teacher says of them, where it says anything.

        The cosine with the targets, behind a learned linear map where the dims differ (Romero et
        al. 2015, arXiv 1412.6550, eq. 3), and the similarities within the batch, which need none.

        Args:
            modality: Whose points.
            points: (n, dim), rows of unit length.
            targets: (n, teacher's dim), rows of unit length, or zeros.
        """
        known = targets.any(dim=1)
        if known.sum() < 2:
            return points.sum() * 0
        mine, wanted = points[known], targets[known]
        name = str(modality)
        mapped = normalize(self.maps[name](mine), dim=1) if name in self.maps else mine
        return cosine_loss(mapped, wanted) + ALIKE * similarity_loss(mine, wanted)


def mixed_loss(
    criterion: Callable[[Tensor, Tensor], Tensor], scores: Tensor, same: Tensor, mixing: Mixing
) -> Tensor:
    """The loss of pairs whose left parts are mixed: the mean of the losses with either target.

    Zhang et al. 2018 (arXiv 1710.09412, section 2) mix the targets as the samples. Here a target is
    which right part fits: the left part's own and, in a matrix whose columns are in the partners'
    order, the partner's (as in i-Mix: Lee et al. 2021, arXiv 2010.08887).

    Args:
        criterion: A loss of (n, n) scores and of which of them fit.
        scores: (n, n), of mixed left parts and whole right parts.
        same: (n, n) bool, which of them fit without the mixing.
        mixing: Who is mixed with whom.
    """
    loss = criterion(scores, same)
    if mixing.share == 1:
        return loss
    order = torch.from_numpy(mixing.partners).to(scores.device)
    others = criterion(scores[:, order], same[order][:, order])
    return mixing.share * loss + (1 - mixing.share) * others


@dataclass(frozen=True)
class Pace:
    """How a step is taken.

    Attributes:
        batch: Pairs whose loss is taken together.
        part: Pairs whose graph is in memory at a time.
        mixup: Both parameters of the beta distribution of shares; 0 for no mixing.
        distillation: Weight of what the teacher says, beside the pairs.
        seed: Of every random choice.
    """

    batch: int
    part: int
    mixup: float
    distillation: float
    seed: int


class TowersTask:
    """Towers learn from pairs and from a teacher.

    Args:
        model: Trained in place.
        inputs: By modality.
        targets: By modality (parts, teacher's dim) float32, rows of unit length or zeros.
        train: The pairs to learn from.
        validation: The pairs that decide when to stop.
        pace: How.
    """

    def __init__(
        self,
        model: Towers,
        inputs: Mapping[Modality, Inputs],
        targets: Mapping[Modality, Tensor],
        train: Sequence[Pairing],
        validation: Sequence[Pairing],
        pace: Pace,
    ) -> None:
        self.model = model
        self._inputs, self._targets, self._pace = inputs, targets, pace
        self._train, self._validation = train, validation
        self._device = next(model.parameters()).device

    def backward(self, step: int) -> float:
        """One batch of every pairing; their losses are added."""
        return sum(self._backward(number, step) for number in range(len(self._train)))

    def _backward(self, number: int, step: int) -> float:
        """One batch of one pairing, whose left parts are mixed: texts are always on the right."""
        pairing, pace = self._train[number], self._pace
        size = min(pace.batch, len(pairing.rows))
        chosen = pairing.take(batch(len(pairing.rows), size, pace.seed, step))
        rng = np.random.default_rng([pace.seed, 30, step, number])
        mixing = Mixing.draw(size, pace.mixup, rng)
        pieces = np.array_split(np.arange(size), -(-size // pace.part))
        return backward_in_parts(
            list(zip(pieces, rng.integers(2**32, size=len(pieces)), strict=True)),
            partial(self._embed, chosen, mixing),
            partial(self._loss, chosen, mixing),
        )

    def _embed(
        self, pairing: Pairing, mixing: Mixing, piece: tuple[NDArray[np.int64], np.int64]
    ) -> tuple[Tensor, Tensor]:
        """What the towers say of the two sides of some pairs."""
        places, seed = piece
        rng = np.random.default_rng(int(seed))
        left, right = pairing.rows[places, 0], pairing.rows[places, 1]
        partners = pairing.rows[mixing.partners[places], 0]
        mixed = self._inputs[pairing.left].varied(left, partners, mixing.share, rng)
        whole = self._inputs[pairing.right].varied(right, right, 1.0, rng)
        return self._points(pairing.left, mixed), self._points(pairing.right, whole)

    def _points(self, modality: Modality, x: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        there = (
            x.to(self._device) if isinstance(x, Tensor) else tuple(t.to(self._device) for t in x)
        )
        with torch.autocast(self._device.type, torch.bfloat16, self._device.type == "cuda"):
            points: Tensor = self.model.towers[str(modality)](there)
        return points.float()

    def _loss(self, pairing: Pairing, mixing: Mixing, both: Sequence[Tensor]) -> Tensor:
        """The pairs' loss and the teacher's; what is mixed is told of both of its halves."""
        left, right = both
        share, same = mixing.share, pairing.same().to(self._device)
        loss = mixed_loss(self.model.criterion, left @ right.T, same, mixing)
        one = self._follow(pairing.left, left, pairing.rows[:, 0])
        other = self._follow(pairing.left, left, pairing.rows[mixing.partners, 0])
        told = share * one + (1 - share) * other
        told = told + self._follow(pairing.right, right, pairing.rows[:, 1])
        return loss + self._pace.distillation * told

    def _follow(
        self, modality: Modality, points: Tensor, numbers: NDArray[np.int64]
    ) -> Tensor | float:
        if modality not in self._targets:
            return 0.0
        targets = self._targets[modality][torch.from_numpy(numbers)].to(self._device)
        return self.model.follow(modality, points, targets)

    def evaluate(self) -> dict[str, float]:
        """The validation pairs' mean reciprocal rank, and their hits, over all directions."""
        return mean_figures([self._figures(pairing) for pairing in self._validation])

    def _figures(self, pairing: Pairing) -> tuple[Figures, Figures]:
        left, right = pairing.members
        scores = self._plain(pairing.left, left) @ self._plain(pairing.right, right).T
        return hits(scores.cpu().numpy(), pairing)

    def _plain(self, modality: Modality, numbers: NDArray[np.int64]) -> Tensor:
        """The parts as they are: (n, dim), rows of unit length."""
        parts = np.array_split(numbers, -(-len(numbers) // EVALUATED))
        found = [self._points(modality, self._inputs[modality].plain(part)) for part in parts]
        return torch.cat(found)
