"""Approximate search: the codes of vectors, in FAISS.

A codebook is a trained FAISS index without vectors. The codes of a segment are what that index
makes of its rows, kept in a file of their own. To be searched they are added to the lists of a
codebook in memory, or its lists are those of the file.
"""

import ctypes
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.codes import Codes, Encoded, Probes
from mmsearch.store.codes_on_device import CodesOnDevice
from mmsearch.store.faiss_ import inverted_file, load_faiss, transforms
from mmsearch.store.lists_on_device import ListsOnDevice
from mmsearch.store.once import computed_once

if TYPE_CHECKING:
    import torch

_FAST_BITS = 4
GRAPH_EFFORT = 128
"""HNSW's efSearch where lists are found by a graph, or as many as are looked into
(`benchmarks/coarse.py`)."""


FILLED_BY_GRAPH = 65_536
"""From so many lists on a graph gives rows to them, too; fewer are all compared with blocks of rows
in less time (`benchmarks/coarse.py`)."""


class _Centroids:
    """The quantizer of an inverted file, which outlives it.

    Attributes:
        quantizer: Finds the lists of a query.
        filler: Finds the list of each of many rows.
    """

    def __init__(self, ivf: Any) -> None:
        faiss = load_faiss()
        self.filler = self.quantizer = faiss.downcast_index(ivf.quantizer)
        if hasattr(self.quantizer, "hnsw"):
            self.quantizer.hnsw.efSearch = GRAPH_EFFORT
            if ivf.nlist < FILLED_BY_GRAPH:
                self.filler = faiss.downcast_index(self.quantizer.storage)
        ivf.own_fields = False
        self._owner = faiss.IndexPreTransform(self.quantizer)  # SWIG miscounts ``this.own(True)``
        self._owner.own_fields = True


class AnnIndex:
    """A codebook, and codes: of its own in memory, or those of a file, there or on a device.

    Attributes:
        file: Whose codes they are, if not its own.
    """

    def __init__(self, codebook: NDArray[np.uint8], sharing: "AnnIndex | None" = None) -> None:
        """Load a codebook from bytes that have been checked: FAISS itself checks nothing.

        Args:
            codebook: The trained, empty index.
            sharing: Another index of the same codebook, so that the centroids are in memory once.
        """
        faiss = load_faiss()
        flags = faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE  # nlist KiB for each code byte, for distances
        self._index = faiss.deserialize_index(np.array(codebook), flags)
        self._ivf = faiss.downcast_index(inverted_file(self._index))
        self._ivf.parallel_mode = 1  # cores share the lists of a query, so that one query has all
        self._searched = self._ivf
        self.file: Codes | None = None
        self._held: CodesOnDevice | None = None
        self._centroids = _Centroids(self._ivf)
        if sharing is not None:
            self._centroids = sharing._centroids
            self._ivf.quantizer = self._centroids.quantizer

    @property
    def nlist(self) -> int:
        """Number of inverted lists."""
        return int(self._ivf.nlist)

    @computed_once
    def _squares(self) -> FloatArray:
        """Of each centroid its squared length, (nlist,) float32; encoding needs none."""
        centroids = self._centroids.quantizer.reconstruct_n(0, self.nlist)
        squares: FloatArray = np.square(centroids).sum(axis=1)
        return squares

    @computed_once
    def _query_transforms(self) -> list[Callable[[FloatArray], FloatArray]]:
        """What is done to queries before they reach the inverted file."""
        return [_numpy_transform(transform) for transform in transforms(self._index)]

    def lists_on(self, device: "torch.device") -> ListsOnDevice:
        """Copy the centroids to a device, which is to give rows to lists."""
        return ListsOnDevice.of(self._centroids.quantizer.reconstruct_n(0, self.nlist), device)

    def encode(self, vectors: FloatArray, filler: ListsOnDevice | None = None) -> Encoded:
        """Return lists and codes.

        Args:
            vectors: (n, dim) float32.
            filler: What finds the list of each, if not FAISS.
        """
        faiss = load_faiss()
        vectors = np.ascontiguousarray(vectors)
        for transform in transforms(self._index):
            vectors = transform.apply(vectors)
        if filler is None:
            lists = self._centroids.filler.assign(vectors, 1)[:, 0]
        else:
            lists = filler.nearest(vectors)
        codes = np.empty((len(vectors), self._ivf.code_size), np.uint8)
        pointers = [faiss.swig_ptr(array) for array in (vectors, lists, codes)]
        self._ivf.encode_vectors(len(vectors), *pointers)
        return Encoded(lists, codes)

    def add(self, codes: Codes, offset: int) -> None:
        """Add the codes of a segment's rows.

        Args:
            codes: Those of the segment.
            offset: What is added to its rows; those that would be below 0 are left out.
        """
        faiss, lists = load_faiss(), self._ivf.invlists
        for number, some, rows in codes.lists():
            first = int(np.searchsorted(rows, -offset))
            ids, added = rows[first:] + offset, some[first:]
            if len(ids):
                lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(added))
        self._index.ntotal = self._ivf.ntotal = lists.compute_ntotal()

    def map(self, codes: Codes) -> None:
        """Leave a segment's codes in their file, and search them there."""
        faiss, spans = load_faiss(), codes.starts
        lists = faiss.OnDiskInvertedLists(self.nlist, codes.code_bytes, "")
        places = np.column_stack([codes.sizes, codes.sizes, spans[:-1]]).astype(np.uint64)
        faiss.memcpy(lists.lists.data(), faiss.swig_ptr(places), places.nbytes)
        lists.read_only, lists.prefetch_nthread = True, 0
        lists.ptr, lists.totsize = faiss.swig_ptr(codes.bytes), codes.bytes.nbytes
        lists.this.disown()
        weakref.finalize(self, _free_lists, lists).atexit = False  # threads may still search them
        self._ivf.replace_invlists(lists, False)
        self._index.ntotal = self._ivf.ntotal = codes.rows
        self.file = codes

    def hold(self, codes: Codes, device: "torch.device") -> None:
        """Copy a segment's codes to a device, and search them there; of a PQ recipe."""
        self._held = CodesOnDevice(self._ivf, codes, device)
        self.file = codes

    def pack(self) -> None:
        """Get ready for searches, once all codes have been added.

        Codes of 4 bits are arranged for fast scan. In files they are not: FAISS 1.15 ends the
        process where such codes are added to the arranged ones, and cannot map those.
        """
        if getattr(getattr(self._ivf, "pq", None), "nbits", 0) == _FAST_BITS:
            faiss = load_faiss()
            self._searched = faiss.IndexIVFPQFastScan(self._ivf)
            nothing = faiss.ArrayInvertedLists(self.nlist, self._ivf.code_size)
            self._ivf.replace_invlists(nothing, True)
            nothing.this.disown()
            _trim_memory()

    def probe(self, queries: FloatArray, nprobe: int, reach: float) -> Probes:
        """Return the lists to look into for each query: the first by ``q·c + reach · (1 - |c|²)``.

        ``1 - |c|²`` is the variance of the unit vectors around their centroid c: of two lists whose
        centroids are as near, the one that is spread further has the better rows. That is the order
        of ``|q / (2 reach) - c|²``.

        Args:
            queries: (n, dim) float32.
            nprobe: How many lists.
            reach: What their spread counts, above 0.
        """
        for transform in self._query_transforms:
            queries = transform(queries)
        stretched = queries / np.float32(2 * reach)
        distances, lists = self._centroids.quantizer.search(stretched, min(nprobe, self.nlist))
        distances[lists < 0] = 0  # a graph may find fewer; fast scan takes all scores for its scale
        squares = np.square(stretched).sum(axis=1, keepdims=True)
        scores = np.float32(reach) * (squares + self._squares[lists] - distances)
        return Probes(queries, lists, scores)

    def search(
        self, probes: Probes, depth: int, allowed: NDArray[np.uint8] | None = None
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
        if self._held is not None:
            return self._held.search(probes, depth, allowed)
        faiss, (count, nprobe) = load_faiss(), probes.lists.shape
        if self.file is not None:
            self.file.fetch(np.unique(probes.lists[probes.lists >= 0]))
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)
        if allowed is not None:
            parameters.sel = faiss.IDSelectorBitmap(allowed)
        scores = np.empty((count, depth), np.float32)
        rows = np.empty((count, depth), np.int64)
        arrays = (probes.lists, probes.scores, scores, rows)
        queries, *pointers = map(faiss.swig_ptr, (probes.queries, *arrays))
        self._searched.search_preassigned_c(count, queries, depth, *pointers, False, parameters)
        return scores, rows


def _free_lists(lists: Any) -> None:
    """Free FAISS's view of a file, not the mapping itself: that is Python's."""
    lists.ptr = None
    lists.thisown = True


def _numpy_transform(transform: Any) -> Callable[[FloatArray], FloatArray]:
    """Return a transform as NumPy does it, if it is a matrix.

    For one vector FAISS wakes the threads of its BLAS, and takes five times as long.
    """
    if not isinstance(transform, load_faiss().LinearTransform) or transform.have_bias:
        return cast("Callable[[FloatArray], FloatArray]", transform.apply)
    matrix = load_faiss().vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
    return lambda vectors: np.asarray(np.vecdot(matrix, vectors[:, None]), np.float32)


def _trim_memory() -> None:
    """Have the C library give back what was freed; it keeps pieces as small as a list's codes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
