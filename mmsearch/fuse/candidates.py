"""What a learned scorer is shown of the first candidates of a query."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray, Modality

DEPTH = 200
"""How many candidates a learned scorer puts in order; the others follow in the default's."""
EMBEDDED = 100
"""How many, where their embeddings are looked at."""
MATCHED = 20
"""How many a cross-encoder looks at."""
RIVALS = 32
"""How many of those the others are compared with."""
COLUMNS = (
    *("behind the first", "log-odds", "ln rank", "words", "BM25"),
    *(f"evidence by {modality}" for modality in Modality),
    *(f"has {modality}" for modality in Modality),
    *("cosine", "hubness", "judged"),
)
"""The signals of a candidate, each on a scale of its own."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The n first candidates of a query, best first by the default score.

    Attributes:
        scores: (n,) float32, the default's.
        signals: (n, 14) float32, as ``COLUMNS`` names them.
        likeness: (3, n, r) float16, r <= 32: for each modality cosines of the candidates'
            embeddings with those of the first r; 0 where either has none. r is 0 where embeddings
            are not looked at.
    """

    scores: FloatArray
    signals: FloatArray
    likeness: NDArray[np.float16]


def signal_rows(
    scores: FloatArray,
    words: FloatArray,
    bm25: FloatArray,
    parts: FloatArray,
    chunks: FloatArray,
    gallery: int,
) -> FloatArray:
    """Return the signals of candidates, (n, 14) float32, as ``COLUMNS`` names them.

    Args:
        scores: (n,), the default's, falling.
        words: (n,), what words count in them.
        bm25: (n,), as a share of the query's best possible.
        parts: (n, 3): evidence by the modality of the item's parts; -inf where it has none.
        chunks: (n, 3): cosine, hubness and judgement of what would be the hit.
        gallery: Among how many vectors was searched.
    """
    has = np.isfinite(parts)
    columns = (
        scores - scores.max(initial=-np.inf),
        scores - np.log(max(1, gallery)),
        np.log(np.arange(1, len(scores) + 1)),
        words,
        bm25,
        np.where(has, parts, 0),
        has,
        chunks,
    )
    return np.column_stack(columns).astype(np.float32)


def put_first(scores: FloatArray, first: NDArray[np.int64], added: FloatArray) -> FloatArray:
    """Return what is added to (n,) scores, so that some are changed and all others stay behind.

    Args:
        scores: (n,) float32, the default's.
        first: (m,) int64: which are changed.
        added: (m,) float32: by how much.
    """
    others = np.ones(len(scores), bool)
    others[first] = False
    ahead = (scores[first] + added).min(initial=np.inf) - scores[others].max(initial=-np.inf)
    found = np.where(others, min(0.0, ahead - 1), 0).astype(np.float32)
    found[first] = added
    return found


def put_in_order(scores: FloatArray, some: NDArray[np.int64], added: FloatArray) -> FloatArray:
    """Return what is added to (n,) scores, so that some of them change places.

    They stand in the order of the sums, and have the scores that these places had: all others stay
    where they are, whatever the sums are.

    Args:
        scores: (n,) float32.
        some: (m,) int64: which change places.
        added: (m,) float32: what speaks for each.
    """
    order = np.argsort(-(scores[some] + added), kind="stable")
    found = np.zeros(len(scores), np.float32)
    found[some[order]] = np.sort(scores[some])[::-1] - scores[some[order]]
    return found
