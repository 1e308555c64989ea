"""The only home of FAISS: recipes, codebooks, codes, approximate search.

A codebook is a trained FAISS index without vectors. The codes of a segment are what that index
makes of its rows (``sa_encode``), kept in a file of their own; an index in memory is the codebook
with the codes of all segments added under their chunk ids.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.records import FloatArray

MAX_TRAINING_BYTES = 512 * 2**20
"""Training rows in memory, as float32."""
_TRAINING_ROWS_PER_LIST = 128
_CENTROIDS = 256
"""A product quantiser with 8 bits a code has this many centroids and needs as many rows."""
_KEPT = {"IndexPreTransform", "IndexIVFPQ", "IndexIVFFlat", "IndexIVFScalarQuantizer"}
"""Fast-scan codes end the process in ``add_sa_codes`` (FAISS 1.15); others were not tried."""


def choose_recipe(rows: int, dim: int) -> str:
    """Return the factory string for a field of that size.

    ``nlist`` is the power of two next to 4·√n (FAISS wiki, "Guidelines to choose an index"), one
    code byte stands for 8 dimensions.
    """
    nlist = 2 ** round(np.log2(4 * np.sqrt(rows)))
    code_bytes = next(m for m in range(max(1, dim // 8), 0, -1) if dim % m == 0)
    return f"IVF{nlist},PQ{code_bytes}"


def check_recipe(recipe: str, dim: int | None = None) -> None:
    """Refuse a factory string that FAISS does not know or whose codes cannot be kept.

    Raises:
        UsageError: The recipe does not fit.
    """
    faiss = _faiss()
    try:
        index = faiss.index_factory(dim or 2048, recipe, faiss.METRIC_INNER_PRODUCT)
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
    faiss = _faiss()
    index = faiss.index_factory(sample.shape[1], recipe, faiss.METRIC_INNER_PRODUCT)
    ivf = faiss.downcast_index(_ivf(index))
    quantizers = [ivf, getattr(ivf, "pq", None)]
    for clustering in (q.cp for q in quantizers if hasattr(q, "cp")):
        clustering.min_points_per_centroid = 1  # FAISS warns on stderr below 39
    if hasattr(ivf, "do_polysemous_training"):
        ivf.do_polysemous_training = False  # on by default: 40 s for a filter not in use
    rotation_quantizers = _quiet_rotations(index)
    index.train(sample)
    del rotation_quantizers
    return bytes(faiss.serialize_index(index))


class AnnIndex:
    """A codebook, and the codes added to it."""

    def __init__(self, codebook: NDArray[np.uint8]) -> None:
        """Load a codebook from bytes that have been checked: FAISS itself checks nothing."""
        self._index = _faiss().deserialize_index(np.array(codebook))
        self._ivf = _ivf(self._index)
        self.code_bytes: int = self._index.sa_code_size()

    @property
    def nlist(self) -> int:
        """Number of inverted lists."""
        return int(self._ivf.nlist)

    def encode(self, vectors: FloatArray) -> NDArray[np.uint8]:
        """Return (n, code_bytes) uint8 for (n, dim) float32."""
        codes: NDArray[np.uint8] = self._index.sa_encode(np.ascontiguousarray(vectors))
        return codes

    def add(self, codes: NDArray[np.uint8], ids: NDArray[np.int64]) -> None:
        """Add (n, code_bytes) codes under their chunk ids."""
        self._ivf.add_sa_codes(np.ascontiguousarray(codes), np.ascontiguousarray(ids))
        self._index.ntotal = self._ivf.ntotal

    def search(
        self,
        query: FloatArray,
        depth: int,
        nprobe: int,
        *,
        ids: NDArray[np.int64],
        allowed: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Return up to ``depth`` chunk ids near a query, in no promised order.

        Args:
            query: (dim,) float32.
            depth: How many.
            nprobe: How many lists to look into.
            ids: (rows,) int64, all chunk ids that were added.
            allowed: (rows,) bool: which of them may come back.
        """
        faiss = _faiss()
        parameters = faiss.SearchParametersIVF(nprobe=min(nprobe, self.nlist))
        count = np.count_nonzero(allowed)  # FAISS takes 0.4 µs for each id that it is given
        if 2 * count < len(ids):
            parameters.sel = faiss.IDSelectorBatch(ids[allowed])
        elif count < len(ids):
            parameters.sel = faiss.IDSelectorNot(faiss.IDSelectorBatch(ids[~allowed]))
        if isinstance(self._index, faiss.IndexPreTransform):
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        _, ids = self._index.search(query[None, :], depth, params=parameters)
        found: NDArray[np.int64] = ids[0][ids[0] >= 0]
        return found


def _faiss() -> Any:
    import faiss

    return faiss


def _quiet_rotations(index: Any) -> list[Any]:
    """Give each OPQ rotation a quantiser that does not warn; they must live until it is trained."""
    faiss, quantizers = _faiss(), []
    for number in range(index.chain.size() if isinstance(index, faiss.IndexPreTransform) else 0):
        rotation = faiss.downcast_VectorTransform(index.chain.at(number))
        if isinstance(rotation, faiss.OPQMatrix):
            rotation.pq = faiss.ProductQuantizer(rotation.d_out, rotation.M, 8)
            rotation.pq.cp.min_points_per_centroid = 1
            quantizers.append(rotation.pq)
    return quantizers


def _ivf(index: Any) -> Any:
    """Return the inverted file inside an index, past its transforms."""
    return _faiss().extract_index_ivf(index)
