"""What is subtracted from cosines, so that what is near to anything does not come before all."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.nearness import Nearness

HUB_SHARE = 0.5
"""What is subtracted of a vector's nearness to what is usually asked. Chowdhury et al. (arXiv
2410.24114, section 4) choose 0.25 to 1.5 by model and data; of 0.25 to 1, with `mini`, 0.5 and 0.75
gain most on photos and captions, and 0.5 harms least where the bank is about other things."""


class HubCorrection(StrEnum):
    """The ways to correct for hubs.

    * ``nnn`` subtracts a share of how near a vector is to the bank, see :class:`Nearest`.
    * ``qbnorm`` normalises by the bank, where hubs are found: :mod:`mmsearch.search.querybank`.
    * ``none`` does nothing.
    """

    NNN = "nnn"
    QBNORM = "qbnorm"
    NONE = "none"


class Hubs(Protocol):
    """Says which rows of a field are hubs."""

    def bias(self, rows: NDArray[np.int64] | None = None) -> FloatArray:
        """Return what is subtracted from the cosines of some rows, or of all, (n,) float32."""
        ...


@dataclass(frozen=True, eq=False)
class Nearest:
    """Nearest Neighbor Normalization (Chowdhury et al. 2024): a share of the stored nearness."""

    nearness: Nearness

    def bias(self, rows: NDArray[np.int64] | None = None) -> FloatArray:
        """Return what is subtracted from the cosines of some rows, or of all, (n,) float32."""
        nearness = self.nearness.everything if rows is None else self.nearness.take(rows)
        return np.float32(HUB_SHARE) * nearness


def corrected(cosines: FloatArray, rows: NDArray[np.int64], hubs: Hubs | None) -> FloatArray:
    """Return the scores of some rows, (n,) float32: their cosines less what makes them hubs."""
    return cosines if hubs is None else cosines - hubs.bias(rows)
