"""The codes of a segment in the memory of a GPU, scanned there.

FAISS's own GPU indexes (without cuVS) take product quantisers of 8 bits only, no selectors, and end
the process when CUDA fails. This scan is torch's, so that it takes the codes that are on disk, and
a CPU computes the same.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.batches import batches
from mmsearch.store.codes import Codes, Probes, best_of
from mmsearch.store.device import at_work
from mmsearch.store.faiss_ import load_faiss

if TYPE_CHECKING:
    import torch

_BLOCK_BYTES = 2**29
"""Of what is looked up at a time."""
_LOOKUP_BYTES = 16
"""Of one byte of a code: where its score is, made in two steps."""
_CANDIDATE_BYTES = 64
"""Of a code besides: whose it is, where, its score, and where that goes."""
_TABLE_BYTES = 4 * 256
"""Of one byte of all codes and a query: the scores."""
_ROW_BYTES = 8
_COPIED_LISTS = 1024
"""So many are copied at a time."""


def can_hold(recipe: str) -> bool:
    """Whether a recipe's codes can be scanned here: of product quantisers, whole or half bytes."""
    return bool(re.search(r",PQ\d+(x[48])?(np)?$", recipe))


def held_bytes(codes: Codes) -> int:
    """Return what a segment's codes take on a device."""
    return codes.rows * (codes.code_bytes + _ROW_BYTES)


class CodesOnDevice:
    """A segment's codes on a torch device."""

    def __init__(self, ivf: Any, codes: Codes, device: "torch.device") -> None:
        """Copy the codes, list by list, checked.

        Args:
            ivf: The inverted file that they are of, of a recipe that :func:`can_hold` takes.
            codes: Those of the segment.
            device: Where they are to be.
        """
        import torch

        self._sizes = codes.sizes
        self._starts = torch.from_numpy(np.cumsum(codes.sizes) - codes.sizes).to(device)
        self._codes = torch.empty((codes.rows, codes.code_bytes), dtype=torch.uint8, device=device)
        self._rows = torch.empty(codes.rows, dtype=torch.int64, device=device)
        start = 0
        for some in batches(codes.lists(), _COPIED_LISTS):
            rows = np.concatenate([one.rows for one in some])
            stop = start + len(rows)
            self._rows[start:stop] = torch.from_numpy(rows)
            self._codes[start:stop] = torch.from_numpy(np.concatenate([one.codes for one in some]))
            start = stop
        pq = ivf.pq
        centroids = load_faiss().vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub)
        self._quantizer = torch.from_numpy(centroids).to(device)

    def search(
        self, probes: Probes, depth: int, allowed: NDArray[np.uint8] | None
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return rows near each query; see :meth:`mmsearch.store.ann.AnnIndex.search`.

        Raises:
            DeviceError: The device has no room.
        """
        import torch

        device, count = self._codes.device, len(probes.queries)
        scores = np.full((count, depth), -np.inf, np.float32)
        rows = np.full((count, depth), -1)
        with at_work(device):
            bits = None if allowed is None else torch.from_numpy(allowed).to(device)
            for some in self._blocks(probes.lists):
                parts = [
                    Probes(probes.queries[some], probes.lists[some, at], probes.scores[some, at])
                    for at in self._parts(probes.lists[some])
                ]
                best, found = best_of([self._search(part, depth, bits) for part in parts], depth)
                scores[some, : best.shape[1]], rows[some, : best.shape[1]] = best, found
        return scores, rows

    def _blocks(self, lists: NDArray[np.int64]) -> Iterator[slice]:
        """Yield queries whose candidates can be looked up at a time, one query at least."""
        most = int(self._sizes_of(lists).sum(axis=1).max(initial=0))
        table_bytes = self._codes.shape[1] * _TABLE_BYTES
        step = max(1, _BLOCK_BYTES // (most * self._looked_up_bytes + table_bytes))
        return (slice(at, at + step) for at in range(0, len(lists), step))

    def _parts(self, lists: NDArray[np.int64]) -> list[slice]:
        """Return which lists of each query can be looked into at a time, one at least."""
        sizes = self._sizes_of(lists).sum(axis=0)
        part = np.maximum(np.cumsum(sizes) - 1, 0) * self._looked_up_bytes // _BLOCK_BYTES
        ends = [*(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
        return [slice(start, end) for start, end in pairwise([0, *ends])]

    @property
    def _looked_up_bytes(self) -> int:
        """What a code takes while it is looked up."""
        return self._codes.shape[1] * _LOOKUP_BYTES + _CANDIDATE_BYTES

    def _sizes_of(self, lists: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(lists < 0, 0, self._sizes[lists])

    def _search(
        self, probes: Probes, depth: int, allowed: "torch.Tensor | None"
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """Scan the lists of some queries: all candidates in a row, query by query, list by list."""
        import torch

        device, (count, nprobe) = self._codes.device, probes.lists.shape
        sizes = self._sizes_of(probes.lists)
        counts = sizes.sum(axis=1)
        total, most = int(counts.sum()), int(counts.max())
        queries, lists, list_scores = (torch.from_numpy(array).to(device) for array in probes)
        lengths = torch.from_numpy(sizes.ravel()).to(device)
        pair = torch.arange(count * nprobe, device=device)
        pair = pair.repeat_interleave(lengths, output_size=total)  # of query and list
        number = torch.arange(total, device=device)
        before = lengths.cumsum(0) - lengths
        at = number + (self._starts[lists.clamp(min=0).ravel()] - before)[pair]
        query = pair // nprobe
        found = list_scores.ravel()[pair] + self._looked_up(queries, query, at)
        if allowed is not None:
            rows = self._rows[at]
            found[(allowed[rows >> 3] >> (rows & 7)) & 1 == 0] = -torch.inf
        begins = before[::nprobe]
        table = found.new_full((count, most), -torch.inf)
        table[query, number - begins[query]] = found
        best, places = table.topk(min(depth, most))
        none = best == -torch.inf
        rows = self._rows[at[(places + begins[:, None]).masked_fill(none, 0)]]
        return best.cpu().numpy(), rows.masked_fill(none, -1).cpu().numpy()

    def _looked_up(
        self, queries: "torch.Tensor", query: "torch.Tensor", at: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return the inner products of queries with what codes stand for, (n,) float32.

        Args:
            queries: (queries, dim) float32.
            query: (n,) int64, the query of each.
            at: (n,) int64, the code of each.
        """
        import torch

        width = self._codes.shape[1]
        places = 256 * (query[:, None] * width + torch.arange(width, device=at.device))
        places += self._codes[at]
        return self._tables(queries).take(places).sum(dim=1)

    def _tables(self, queries: "torch.Tensor") -> "torch.Tensor":
        """Return for each query what each byte of a code adds, (queries, code_bytes, 256)."""
        import torch

        m, ksub, dsub = self._quantizer.shape
        tables = torch.einsum("qmd,mkd->qmk", queries.view(len(queries), m, dsub), self._quantizer)
        if ksub == 256:
            return tables
        if m % 2:
            tables = torch.nn.functional.pad(tables, (0, 0, 0, 1))
        low, high = tables[:, 0::2], tables[:, 1::2]  # of a byte
        return (high[..., None] + low[..., None, :]).flatten(2)
