"""From one space of a model into another, by way of texts that have a vector in both."""

import numpy as np

from mmsearch.records import FloatArray

NEAREST = 32
"""Texts that a query is described by."""

SHARPNESS = 100.0
"""What cosines are multiplied with before the softmax: CLIP's highest logit scale."""


def across(query: FloatArray, near: FloatArray, far: FloatArray) -> FloatArray:
    """Return where a query would lie in another space: (other dim,) float32 of unit length.

    The mean of its nearest texts there, weighted by a softmax over their cosines with it.

    Args:
        query: (dim,), in its own space.
        near: (n, dim), texts in that space.
        far: (n, other dim), the same texts in the other space.
    """
    cosines = near @ query / np.maximum(_lengths(near) * np.linalg.norm(query), 1e-12)
    best = np.argsort(-cosines)[:NEAREST]
    weights = np.exp(SHARPNESS * (cosines[best] - cosines[best[0]]))
    rows = far[best] / np.maximum(_lengths(far[best])[:, None], 1e-12)
    found = weights @ rows
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-12), np.float32)


def _lengths(rows: FloatArray) -> FloatArray:
    found: FloatArray = np.linalg.norm(rows, axis=1)
    return found
