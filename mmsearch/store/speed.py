"""How fast this machine multiplies matrices: NumPy's library, and the one inside FAISS."""

import time
from collections.abc import Callable

import numpy as np

from mmsearch.store.faiss_ import load_faiss

ROWS, DIM = 2048, 512


def numpy_gflops() -> float:
    """Billions of operations a second of NumPy's float32 product, the best of five."""
    x = _rows()
    return _rate(lambda: x @ x.T)


def faiss_gflops() -> float:
    """The same of FAISS's exact search, which is one product and a selection."""
    faiss = load_faiss()
    x = _rows()
    return _rate(lambda: faiss.knn(x, x, 1, metric=faiss.METRIC_INNER_PRODUCT))


def _rows() -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)


def _rate(work: Callable[[], object]) -> float:
    work()
    taken_s = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        taken_s.append(time.perf_counter() - started)
    return 2 * ROWS**2 * DIM / min(taken_s) / 1e9
