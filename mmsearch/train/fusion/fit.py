"""A scorer is fitted to examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmsearch.fuse.learned import Arrays, Learned
from mmsearch.train.batches import batch
from mmsearch.train.fusion.examples import Example
from mmsearch.train.fusion.network import Batch, Network, arrays, network
from mmsearch.train.fusion.report import measured
from mmsearch.train.loop import train
from mmsearch.train.plan import Plan

BATCH_SIZE = 64
STEPS = {Learned.MLP: 300, Learned.ATTENTION: 120}
LEARNING_RATE = {Learned.MLP: 3e-3, Learned.ATTENTION: 2e-3}
EVALUATIONS = 10
PATIENCE = 5
_VALIDATED = 400
"""Examples that decide when to stop, at most."""
_SAMPLE = 500
"""Examples whose candidates say what columns are like."""


class FusionTask:
    """A scorer learns to put relevant candidates first.

    The loss is InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, eq. 4) over the candidates of a
    query, whose scores are log-odds already: no temperature. Relevant ones share the probability
    by their grades.
    """

    def __init__(
        self, kind: Learned, train: Sequence[Example], validation: Sequence[Example], seed: int
    ) -> None:
        self._train, self._seed = train, seed
        self._validation = validation[:: -(-len(validation) // _VALIDATED)]
        self._size = min(BATCH_SIZE, len(train))
        torch.manual_seed(seed)
        some = [example.candidates.signals for example in train[:_SAMPLE]]
        self.network = network(kind, np.concatenate(some))

    @property
    def model(self) -> Network:
        """What is trained."""
        return self.network

    def backward(self, step: int) -> float:
        """Add the gradients of one step's loss."""
        rows = batch(len(self._train), self._size, self._seed, step)
        some = [self._train[row] for row in rows]
        together = collated(some)
        targets = _padded([e.grades.astype(np.float32) for e in some], together.scores.shape[1])
        loss = cross_entropy(self.network(together), targets / targets.sum(dim=1, keepdim=True))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def evaluate(self) -> Mapping[str, float]:
        """The nDCG@10 of examples that are not trained on."""
        found = []
        for at in range(0, len(self._validation), BATCH_SIZE):
            some = self._validation[at : at + BATCH_SIZE]
            scores = self.network(collated(some)).numpy()
            found += [row[: len(e.grades)] for row, e in zip(scores, some, strict=True)]
        return {"ndcg_at_10": float(measured(self._validation, found)[:, 0].mean())}


def fit(
    kind: Learned, train_on: Sequence[Example], validation: Sequence[Example], seed: int
) -> Arrays:
    """Return the weights of a scorer: the best of up to 11 evaluations."""
    task = FusionTask(kind, train_on, validation, seed)
    plan = Plan(
        STEPS[kind],
        seed,
        LEARNING_RATE[kind],
        evaluate_steps=STEPS[kind] // EVALUATIONS,
        patience=PATIENCE,
    )
    with TemporaryDirectory(prefix="mmsearch-fusion-") as folder:
        train(task, plan, Path(folder))
    return arrays(task.network)


def collated(examples: Sequence[Example]) -> Batch:
    """Put the candidates of examples together."""
    some = [example.candidates for example in examples]
    width = max(len(c.scores) for c in some)
    likeness = np.max([c.likeness.shape for c in some], axis=0).tolist()
    return Batch(
        scores=_padded([c.scores for c in some], width),
        there=_padded([np.ones(len(c.scores), bool) for c in some], width),
        signals=_padded([c.signals for c in some], width),
        likeness=_padded([c.likeness for c in some], *likeness).float(),
    )


def _padded(arrays: Sequence[NDArray[Any]], *shape: int) -> Tensor:
    """Stack arrays, whose first dimensions are filled up with zeros."""
    stacked = np.zeros((len(arrays), *shape, *arrays[0].shape[len(shape) :]), arrays[0].dtype)
    for filled, array in zip(stacked, arrays, strict=True):
        filled[tuple(map(slice, array.shape))] = array
    return torch.from_numpy(stacked)
