"""Scorers that are fitted to a user's own queries: torch trains them, NumPy runs them.

Both add to the default score of each candidate what they have learned, which is nothing at first.
Their networks are those of :mod:`mmsearch.train.fusion.network`, whose names the arrays have.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np

from mmsearch.encode.heads import gelu
from mmsearch.fuse.candidates import Candidates
from mmsearch.records import FloatArray

LIMIT = 5.0
"""No signal counts as more deviations from its mean: what lies beyond was not trained on."""
LAYERS = 2
HEADS = 4
_EPSILON = 1e-5

Arrays = Mapping[str, FloatArray]


class Learned(StrEnum):
    """The learned scorers.

    * ``mlp`` judges each candidate by its signals.
    * ``attention`` is a transformer over the candidates, with their embeddings.
    """

    MLP = "mlp"
    ATTENTION = "attention"


def learned_share(kind: Learned, arrays: Arrays, candidates: Candidates) -> FloatArray:
    """Return what a scorer adds to the default scores of candidates, (n,) float32.

    Args:
        kind: Which scorer.
        arrays: Its weights, float32.
        candidates: Those of one query.
    """
    return _SHARES[kind](arrays, candidates)


def _mlp(arrays: Arrays, candidates: Candidates) -> FloatArray:
    x = _scaled(arrays, "signals", candidates.signals)
    x = gelu(_linear(arrays, "first", x))
    x = gelu(_linear(arrays, "hidden", x))
    return np.asarray(x @ arrays["out.weight"][0], np.float32)


def _attention(arrays: Arrays, candidates: Candidates) -> FloatArray:
    """Pre-norm layers (Xiong et al. 2020, arXiv 2002.04745, figure 1) without positions."""
    x = _linear(arrays, "first", _scaled(arrays, "signals", candidates.signals))
    likeness = candidates.likeness.astype(np.float32)
    for name in (f"layers.{number}" for number in range(LAYERS)):
        x = x + _mixed(arrays, name, _normed(arrays, f"{name}.before_mixing", x), likeness)
        hidden = _linear(arrays, f"{name}.up", _normed(arrays, f"{name}.before_up", x))
        x = x + _linear(arrays, f"{name}.down", gelu(hidden))
    return np.asarray(_normed(arrays, "normed", x) @ arrays["out.weight"][0], np.float32)


def _mixed(arrays: Arrays, name: str, x: FloatArray, likeness: FloatArray) -> FloatArray:
    """Attention of all to the first ones (Vaswani et al. 2017, arXiv 1706.03762, section 3.2).

    Each head also counts how alike two candidates are, with a factor for each modality.
    """
    rivals = likeness.shape[2]
    rows = _linear(arrays, f"{name}.into_heads", x).reshape(len(x), 3, HEADS, -1)
    queries, keys, values = rows.transpose(1, 2, 0, 3)  # (heads, n, width / heads) each
    keys, values = keys[:, :rivals], values[:, :rivals]
    logits = queries @ keys.transpose(0, 2, 1) / np.float32(np.sqrt(queries.shape[2]))
    logits += np.tensordot(arrays[f"{name}.likeness"], likeness, 1)  # (heads, n, r)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    mixed = (weights @ values).transpose(1, 0, 2).reshape(len(x), -1)
    return _linear(arrays, f"{name}.out_of_heads", mixed)


def _scaled(arrays: Arrays, name: str, x: FloatArray) -> FloatArray:
    """Columns by their deviation from the mean of what was trained on."""
    scaled = (x - arrays[f"{name}.mean"]) * arrays[f"{name}.scale"]
    return np.asarray(np.clip(scaled, -LIMIT, LIMIT), np.float32)


def _linear(arrays: Arrays, name: str, x: FloatArray) -> FloatArray:
    return np.asarray(x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"], np.float32)


def _normed(arrays: Arrays, name: str, x: FloatArray) -> FloatArray:
    """Layer normalisation (Ba et al. 2016, arXiv 1607.06450)."""
    centred = x - x.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + np.float32(_EPSILON))
    scaled = centred / spread * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]
    return np.asarray(scaled, np.float32)


_SHARES: Mapping[Learned, Callable[[Arrays, Candidates], FloatArray]] = {
    Learned.MLP: _mlp,
    Learned.ATTENTION: _attention,
}
