"""The codes of a field in memory, to which the rows of new commits are added beside searches.

A FAISS index must not be added to while it is searched. So the codes are held in runs, FAISS
indexes of consecutive rows that never change and are searched side by side. New rows make a new
run, together with those before it that are no more than twice as large: runs are few, and a row is
copied log(n) times. A field that is opened anew is one run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.ann import AnnIndex


@dataclass(frozen=True, slots=True)
class Run:
    """The codes of consecutive rows.

    Attributes:
        index: Searches them.
        start: The first row.
        stop: The row behind the last.
    """

    index: AnnIndex
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Runs:
    """All rows of a field, searched as one index."""

    runs: tuple[Run, ...]

    @property
    def nlist(self) -> int:
        """Number of inverted lists."""
        return self.runs[0].index.nlist

    def search(
        self,
        queries: FloatArray,
        depth: int,
        nprobe: int,
        reach: float,
        allowed: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Return rows near each query, on all cores.

        Args:
            queries: (n, dim) float32.
            depth: How many rows for each.
            nprobe: How many lists to look into.
            reach: See :meth:`AnnIndex.probe`.
            allowed: A bit for each row, the lowest of a byte first: which may come back.

        Returns:
            (n, depth) int64, nearest by their codes first, -1 where there are no more.
        """
        probes = self.runs[0].index.probe(queries, nprobe, reach)
        found = [run.index.search(probes, depth, allowed) for run in self.runs]
        if len(found) == 1:
            return found[0][1]
        scores, rows = (np.hstack(side) for side in zip(*found, strict=True))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(rows, best, axis=1)


def load_runs(
    rows: int,
    known: tuple[Run, ...],
    codebook: NDArray[np.uint8],
    codes: Callable[[int, int], Iterator[NDArray[np.uint8]]],
) -> Runs:
    """Return the runs of a field.

    Args:
        rows: How many it has, one at least.
        known: Runs of its first rows, with the same codebook.
        codebook: The trained, empty index.
        codes: Yields the codes from one row up to another, in pieces.
    """
    runs = list(known)
    start = runs[-1].stop if runs else 0
    while runs and runs[-1].stop - runs[-1].start <= 2 * (rows - start):
        start = runs.pop().start
    if start < rows:
        index = AnnIndex(codebook)
        for piece in codes(start, rows):
            index.add(piece.reshape(-1, index.code_bytes), start + index.rows)
        index.pack()
        runs.append(Run(index, start, rows))
    return Runs(tuple(runs))
