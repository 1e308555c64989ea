"""Exact inner products by FAISS: of half floats, and the nearest of many rows."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.faiss_ import load_faiss


def inner_products(vectors: NDArray[np.float16], query: FloatArray) -> FloatArray:
    """Return (n,) float32 for (n, dim) float16 and (dim,) float32, each row by itself.

    FAISS multiplies half floats as it reads them; NumPy converts them first, one by one, and takes
    five times as long.
    """
    faiss, (count, dim) = load_faiss(), vectors.shape
    codec = faiss.ScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16)
    scanner = codec.select_InvertedListScanner(faiss.METRIC_INNER_PRODUCT, None, False, None, False)
    scanner.set_query(faiss.swig_ptr(query))
    scanner.set_list(0, 0.0)
    codes, rows = np.ascontiguousarray(vectors).view(np.uint8), np.arange(count)
    best, heap = np.full(count, -np.inf, np.float32), np.full(count, -1)
    scanner.scan_codes(count, *map(faiss.swig_ptr, (codes, rows, best, heap)), count)
    products = np.full(count, -np.inf, np.float32)  # also where a vector is not finite
    products[heap[heap >= 0]] = best[heap >= 0]
    return products


def nearest(
    queries: FloatArray, blocks: Iterable[tuple[NDArray[np.int64], FloatArray]], k: int
) -> NDArray[np.int64]:
    """Return the exact nearest of many rows, on all cores.

    Args:
        queries: (n, dim) float32.
        blocks: The rows' numbers and vectors, a part at a time.
        k: How many for each query.

    Returns:
        (n, k) int64 row numbers, the nearest first, -1 where there are no more.
    """
    faiss = load_faiss()
    best = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1)
    for rows, base in blocks:
        few = min(k, len(rows))
        scores, at = faiss.knn(queries, base, few, metric=faiss.METRIC_INNER_PRODUCT)
        scores, both = np.hstack([best, scores]), np.hstack([found, rows[at]])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best, found = (np.take_along_axis(side, order, axis=1) for side in (scores, both))
    return found
