"""From many dimensions to two: PCA by NumPy, UMAP by umap-learn."""

import warnings
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mmsearch.errors import MMSearchError, UsageError
from mmsearch.records import FloatArray

_NEIGHBORS = 15
"""umap-learn's default."""
_FEWEST = 4
"""Below, umap-learn's spectral start fails."""


class Method(StrEnum):
    """How to get from many dimensions to two."""

    PCA = "pca"
    UMAP = "umap"


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Vectors as points of a plane; what is drawn is what is there, nothing is centred by modality.

    Attributes:
        points: (n, 2) float32.
        method: How they came about.
        variance: The share of the vectors' variance along each axis; None for UMAP, whose axes
            mean nothing.
    """

    points: FloatArray
    method: Method
    variance: tuple[float, float] | None = None

    @property
    def summary(self) -> str:
        """The method, and what it keeps."""
        if self.variance is None:
            return "UMAP"
        return f"PCA, {sum(self.variance):.0%} of the variance"


def project(vectors: FloatArray, method: str, seed: int) -> Projection:
    """Place vectors in a plane.

    Args:
        vectors: (n, dim) float32.
        method: ``pca`` or ``umap``.
        seed: Where UMAP's random choices start; PCA makes none.

    Raises:
        UsageError: There is no such method, or there are too few vectors for it.
        MMSearchError: UMAP is not installed.
    """
    if method not in list(Method):
        raise UsageError(f"method {method!r}: the methods are {' and '.join(Method)}")
    return _pca(vectors) if method == Method.PCA else _umap(vectors, seed)


def _pca(vectors: FloatArray) -> Projection:
    """The two directions of most variance (Jolliffe 2002, section 1.1), signs made unambiguous."""
    centred = vectors - vectors.mean(axis=0)
    # (dim, dim), however many vectors there are: cheaper than their singular values.
    variances, axes = np.linalg.eigh(centred.T @ centred)
    variances = np.maximum(variances, 0)  # rounding makes some of the smallest negative
    axes = axes[:, :-3:-1]
    largest = np.abs(axes).argmax(axis=0)
    points = (centred @ (axes * np.sign(axes[largest, [0, 1]]))).astype(np.float32)
    first, second = variances[:-3:-1] / (variances.sum() or 1.0)
    return Projection(points, Method.PCA, (float(first), float(second)))


def _umap(vectors: FloatArray, seed: int) -> Projection:
    """Neighbours stay neighbours (McInnes et al. 2018, arXiv 1802.03426)."""
    if len(vectors) < _FEWEST:
        raise UsageError(
            f"UMAP needs at least {_FEWEST} vectors, there are {len(vectors)}: try pca"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that TensorFlow is missing, and of odd data
        try:
            from umap import UMAP
        except ImportError as error:
            raise MMSearchError(
                f"UMAP needs umap-learn ({error}): pip install 'mmsearch[plot]'"
            ) from None
        reducer = UMAP(
            n_neighbors=min(_NEIGHBORS, len(vectors) - 1),
            metric="cosine",
            random_state=seed,
            n_jobs=1,  # what a seed costs: with more threads no two runs are alike
        )
        points = reducer.fit_transform(vectors)
    return Projection(np.asarray(points, np.float32), Method.UMAP)
