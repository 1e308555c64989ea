"""How well one side of pairs finds the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics import Estimate, first_relevant_ranks, hit_at_k, mean_estimates
from mmsearch.records import FloatArray
from mmsearch.train.pairs import Pairing

KS = (1, 5, 10)


@dataclass(frozen=True)
class Figures:
    """The ranks of the first right answers of one direction.

    Attributes:
        direction: ``text→image``: what is asked with, what is found.
        ranks: (queries,) int64, from 1.
    """

    direction: str
    ranks: NDArray[np.int64]

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank (Voorhees 1999, TREC-8)."""
        return float(np.mean(1 / self.ranks))

    def named(self) -> dict[str, float]:
        """The mean reciprocal rank and hit_at_1/5/10."""
        return {"mrr": self.mrr} | {f"hit_at_{k}": hit_at_k(self.ranks, k) for k in KS}


def hits(scores: FloatArray, pairing: Pairing) -> tuple[Figures, Figures]:
    """Both directions of a pairing.

    Args:
        scores: (lefts, rights), of the pairs' members.
        pairing: The pairs.

    Returns:
        From left to right and from right to left.
    """
    fits = pairing.fits(*pairing.members)
    return (
        _one(f"{pairing.left}→{pairing.right}", scores, fits),
        _one(f"{pairing.right}→{pairing.left}", scores.T, fits.T),
    )


def mean_figures(found: Sequence[tuple[Figures, Figures]]) -> dict[str, float]:
    """Figures averaged over pairings and their two directions."""
    every = [figures.named() for pair in found for figures in pair]
    return {name: float(np.mean([one[name] for one in every])) for name in every[0]}


def _one(direction: str, scores: FloatArray, fits: NDArray[np.bool_]) -> Figures:
    relevant = [np.flatnonzero(row) for row in fits]
    return Figures(direction, first_relevant_ranks(scores, relevant))


def gain(before: Figures, after: Figures, seed: int = 0) -> Estimate:
    """How much the mean reciprocal rank has risen, by a paired bootstrap over the queries."""
    differences = 1 / after.ranks - 1 / before.ranks
    return mean_estimates(differences[:, None], seed)[0]
