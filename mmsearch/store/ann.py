"""The only home of FAISS: recipes, codebooks, codes, approximate search.

A codebook is a trained FAISS index without vectors. The codes of a segment are what that index
makes of its rows (``sa_encode``), kept in a file of their own; an index in memory is the codebook
with the codes of all segments added under their row numbers.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.records import FloatArray
from mmsearch.store.once import computed_once

MAX_TRAINING_BYTES = 512 * 2**20
"""Training rows in memory, as float32."""
_DIMENSIONS_A_BYTE = 8
"""Of a code, where nothing else is asked for."""
_TRAINING_ROWS_PER_LIST = 20
_TRAINING_ROUNDS = 4
"""FAISS asks for 39 rows a list and takes 10 rounds. With 40 and 10, five times the work, the first
64 of 4,096 lists hold 0.01 more of what text-like queries are for (`benchmarks/ann.py`'s vectors).
"""
_CENTROIDS = 256
"""A product quantiser with 8 bits a code has this many centroids and needs as many rows."""
_KEPT = {"IndexPreTransform", "IndexIVFPQ", "IndexIVFFlat", "IndexIVFScalarQuantizer"}
"""Fast-scan codes end the process in ``add_sa_codes`` (FAISS 1.15); others were not tried."""


def choose_recipe(rows: int, dim: int, code_bytes: float | None = None) -> str:
    """Return the factory string for a field of that size.

    ``nlist`` is the power of two next to 4·√n (FAISS wiki, "Guidelines to choose an index").

    Args:
        rows: How many vectors.
        dim: Their dimensions.
        code_bytes: What a code may take: the largest codes that fit are chosen, the smallest where
            none do. By default one byte stands for 8 dimensions.
    """
    nlist = 2 ** round(np.log2(4 * np.sqrt(rows)))
    sizes = code_sizes(dim)
    limit = _pq_bytes(dim, _DIMENSIONS_A_BYTE) if code_bytes is None else code_bytes
    fitting = [codes for codes, size in sizes.items() if size <= limit]
    return f"IVF{nlist},{(fitting or list(sizes)[-1:])[0]}"


def code_sizes(dim: int) -> dict[str, int]:
    """Return the codes to choose from as factory strings name them, with their bytes.

    The largest come first: a byte for each dimension, then for 2, 4, 8, 16 and 32 of them.
    """
    pq = (_pq_bytes(dim, dimensions) for dimensions in (2, 4, 8, 16, 32))
    return {"SQ8": dim} | {f"PQ{m}": m for m in pq}


def _pq_bytes(dim: int, dimensions: int) -> int:
    """Return the largest ``m`` that divides the dim, with so many of them a byte at the least."""
    return next(m for m in range(max(1, dim // dimensions), 0, -1) if dim % m == 0)


def check_recipe(recipe: str, dim: int | None = None) -> None:
    """Refuse a factory string that FAISS does not know or whose codes cannot be kept.

    Raises:
        UsageError: The recipe does not fit.
    """
    faiss = _faiss()
    try:
        index = _untrained(recipe, dim or 2048)
        kinds = {type(faiss.downcast_index(part)).__name__ for part in (index, _ivf(index))}
    except (RuntimeError, AttributeError):
        kinds = set()
    if not kinds or not nlist_of(recipe):
        raise UsageError(
            f"recipe {recipe!r}: not a FAISS factory string with an inverted file"
            f"{f' for {dim} dimensions' if dim else ''}; try 'IVF1024,PQ32'"
        )
    if not kinds <= _KEPT:
        kind = ", ".join(sorted(kinds - _KEPT))
        raise UsageError(f"recipe {recipe!r}: codes of {kind} cannot be kept; use PQ, SQ or Flat")


def nlist_of(recipe: str) -> int | None:
    """Return the number of inverted lists in a factory string."""
    match = re.search(r"IVF(\d+)", recipe)
    return int(match[1]) if match else None


def rows_to_train(recipe: str) -> int:
    """Return how many rows a codebook needs at the least."""
    centroids = max((2 ** int(bits) for bits in re.findall(r"PQ\d+x(\d+)", recipe)), default=0)
    return max(nlist_of(recipe) or 0, centroids, _CENTROIDS)


def training_rows(recipe: str, dim: int) -> int:
    """Return how many rows at the most are worth training on."""
    wanted = _TRAINING_ROWS_PER_LIST * rows_to_train(recipe)
    return max(rows_to_train(recipe), min(wanted, MAX_TRAINING_BYTES // (4 * dim)))


def train_codebook(recipe: str, sample: FloatArray) -> bytes:
    """Train an index and serialise it, empty.

    Args:
        recipe: FAISS factory string.
        sample: (n, dim) float32.
    """
    index = _untrained(recipe, sample.shape[1])
    ivf = _faiss().downcast_index(_ivf(index))
    ivf.cp.niter = _TRAINING_ROUNDS
    quantizers = [ivf, getattr(ivf, "pq", None)]
    for clustering in (q.cp for q in quantizers if hasattr(q, "cp")):
        clustering.min_points_per_centroid = 1  # FAISS warns on stderr below 39
    if hasattr(ivf, "do_polysemous_training"):
        ivf.do_polysemous_training = False  # on by default: 40 s for a filter not in use
        ivf.use_precomputed_table = -1  # it serves distances only
    rotation_quantizers = _quiet_rotations(index)
    index.train(sample)
    del rotation_quantizers
    return bytes(_faiss().serialize_index(index))


def _untrained(recipe: str, dim: int) -> Any:
    """An index of inner products whose lists are the cells of the nearest centroids.

    FAISS's own choice for inner products, lists by the angle to a centroid, forgets how far the
    rows of a list reach. See :meth:`AnnIndex.probe`.
    """
    faiss = _faiss()
    index = faiss.index_factory(dim, recipe, faiss.METRIC_L2)
    index.metric_type = _ivf(index).metric_type = faiss.METRIC_INNER_PRODUCT
    return index


class AnnIndex:
    """A codebook, and the codes added to it."""

    def __init__(self, codebook: NDArray[np.uint8]) -> None:
        """Load a codebook from bytes that have been checked: FAISS itself checks nothing."""
        faiss = _faiss()
        flags = faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE  # nlist KiB for each code byte, for distances
        self._index = faiss.deserialize_index(np.array(codebook), flags)
        self._ivf = _ivf(self._index)
        self._ivf.parallel_mode = 1  # cores share the lists of a query, so that one query has all
        self.code_bytes: int = self._index.sa_code_size()

    @property
    def nlist(self) -> int:
        """Number of inverted lists."""
        return int(self._ivf.nlist)

    @computed_once
    def _squares(self) -> FloatArray:
        """Of each centroid its squared length, (nlist,) float32; encoding needs none."""
        centroids = self._ivf.quantizer.reconstruct_n(0, self.nlist)
        squares: FloatArray = np.square(centroids).sum(axis=1)
        return squares

    @property
    def rows(self) -> int:
        """How many codes have been added."""
        return int(self._ivf.ntotal)

    def encode(self, vectors: FloatArray) -> NDArray[np.uint8]:
        """Return (n, code_bytes) uint8 for (n, dim) float32."""
        codes: NDArray[np.uint8] = self._index.sa_encode(np.ascontiguousarray(vectors))
        return codes

    def add(self, codes: NDArray[np.uint8], first_row: int) -> None:
        """Add (n, code_bytes) codes of consecutive rows."""
        rows = np.arange(first_row, first_row + len(codes))
        self._ivf.add_sa_codes(np.ascontiguousarray(codes), rows)
        self._index.ntotal = self._ivf.ntotal

    def probe(self, queries: FloatArray, nprobe: int, reach: float) -> "Probes":
        """Return the lists to look into for each query: the first by ``q·c + reach · (1 - |c|²)``.

        ``1 - |c|²`` is the variance of the unit vectors around their centroid c: of two lists whose
        centroids are as near, the one that is spread further has the better rows. That is the order
        of ``|q / (2 reach) - c|²``.

        Args:
            queries: (n, dim) float32.
            nprobe: How many lists.
            reach: What their spread counts, above 0.
        """
        for transform in _transforms(self._index):
            queries = transform.apply(queries)
        stretched = queries / np.float32(2 * reach)
        distances, lists = self._ivf.quantizer.search(stretched, min(nprobe, self.nlist))
        squares = np.square(stretched).sum(axis=1, keepdims=True)
        scores = np.float32(reach) * (squares + self._squares[lists] - distances)
        return Probes(queries, lists, scores)

    def search(
        self, probes: "Probes", depth: int, allowed: NDArray[np.uint8] | None = None
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return rows near each query, on all cores.

        Args:
            probes: Where to look, from any index of this codebook.
            depth: How many rows for each query.
            allowed: A bit for each row, the lowest of a byte first: which may come back.

        Returns:
            (n, depth) float32 estimates of the scores, falling, and (n, depth) int64 rows, -1 where
            there are no more.
        """
        faiss, (count, nprobe) = _faiss(), probes.lists.shape
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)
        if allowed is not None:
            parameters.sel = faiss.IDSelectorBitmap(allowed)
        scores = np.empty((count, depth), np.float32)
        rows = np.empty((count, depth), np.int64)
        arrays = (probes.lists, probes.scores, scores, rows)
        queries, *pointers = map(faiss.swig_ptr, (probes.queries, *arrays))
        self._ivf.search_preassigned_c(count, queries, depth, *pointers, False, parameters)
        return scores, rows


class Probes(NamedTuple):
    """Which lists of an inverted file to look into.

    Attributes:
        queries: (n, dim) float32, past the recipe's transforms.
        lists: (n, nprobe) int64, the best first.
        scores: (n, nprobe) float32, of their centroids.
    """

    queries: FloatArray
    lists: NDArray[np.int64]
    scores: FloatArray


def inner_products(vectors: NDArray[np.float16], query: FloatArray) -> FloatArray:
    """Return (n,) float32 for (n, dim) float16 and (dim,) float32, each row by itself.

    FAISS multiplies half floats as it reads them; NumPy converts them first, one by one, and takes
    five times as long.
    """
    faiss, (count, dim) = _faiss(), vectors.shape
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
    faiss = _faiss()
    best = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1)
    for rows, base in blocks:
        few = min(k, len(rows))
        scores, at = faiss.knn(queries, base, few, metric=faiss.METRIC_INNER_PRODUCT)
        scores, both = np.hstack([best, scores]), np.hstack([found, rows[at]])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best, found = (np.take_along_axis(side, order, axis=1) for side in (scores, both))
    return found


def _faiss() -> Any:
    import faiss

    return faiss


def _quiet_rotations(index: Any) -> list[Any]:
    """Give each OPQ rotation a quantiser that does not warn; they must live until it is trained."""
    faiss, quantizers = _faiss(), []
    for rotation in _transforms(index):
        if isinstance(rotation, faiss.OPQMatrix):
            rotation.pq = faiss.ProductQuantizer(rotation.d_out, rotation.M, 8)
            rotation.pq.cp.min_points_per_centroid = 1
            quantizers.append(rotation.pq)
    return quantizers


def _transforms(index: Any) -> list[Any]:
    """Return what is done to vectors before they reach the inverted file."""
    faiss = _faiss()
    count = index.chain.size() if isinstance(index, faiss.IndexPreTransform) else 0
    return [faiss.downcast_VectorTransform(index.chain.at(number)) for number in range(count)]


def _ivf(index: Any) -> Any:
    """Return the inverted file inside an index, past its transforms."""
    return _faiss().extract_index_ivf(index)
