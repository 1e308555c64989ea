"""Heads in NumPy: what training puts behind frozen encoders, to move their output elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mmsearch.records import FloatArray


class HeadKind(StrEnum):
    """The shapes of heads.

    * ``linear``: ``W x + b``
    * ``mlp``: ``V gelu(W x + b) + c``
    * ``residual``: ``x`` plus an ``mlp`` of it, an adapter (Houlsby et al. 2019, arXiv 1902.00751,
      section 2.1); it starts as the identity.
    """

    LINEAR = "linear"
    MLP = "mlp"
    RESIDUAL = "residual"


@dataclass(frozen=True)
class Head:
    """One head: unit rows in, a layer or two, unit rows out, and a fold where there is one.

    Attributes:
        kind: Its shape.
        arrays: ``in.weight`` (hidden, inputs) and ``in.bias``; for two layers ``out.weight``
            (dim, hidden) and ``out.bias`` as well; ``fold`` (dim, dim) where a bilinear similarity
            has become part of the head: outputs then have no unit length. All float32.
    """

    kind: HeadKind
    arrays: Mapping[str, FloatArray]

    def __call__(self, x: FloatArray) -> FloatArray:
        """Map embeddings: (n, inputs) to (n, dim) float32; rows of unit length unless folded."""
        x = unit(x)
        y = x @ self.arrays["in.weight"].T + self.arrays["in.bias"]
        if self.kind is not HeadKind.LINEAR:
            y = gelu(y) @ self.arrays["out.weight"].T + self.arrays["out.bias"]
        if self.kind is HeadKind.RESIDUAL:
            y = x + y
        y = unit(y)
        fold = self.arrays.get("fold")
        return np.asarray(y if fold is None else y @ fold.T, np.float32)


def unit(x: FloatArray) -> FloatArray:
    """Rows scaled to unit length; rows of zeros stay."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def gelu(x: FloatArray) -> FloatArray:
    """GELU by its tanh formula (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2)."""
    return np.asarray(
        0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), np.float32
    )
