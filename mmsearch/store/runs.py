"""The codes of a field, to which the rows of new commits are added beside searches.

A FAISS index must not be added to while it is searched. So the codes are held in runs, FAISS
indexes of consecutive rows that never change and are searched side by side. In memory, new rows
make a new run, together with those before it that are no more than twice as large: runs are few,
and a row is copied log(n) times. A field that is opened anew is one run. Where codes stay in their
files, or are on a device, each file is a run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.ann import AnnIndex
from mmsearch.store.codes import Codes, Probes, best_of
from mmsearch.store.selection import Selection

if TYPE_CHECKING:
    import torch


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

    def search(
        self, probes: Probes, depth: int, allowed: Selection
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return estimates and rows, see :meth:`AnnIndex.search`."""
        scores, rows = self.index.search(probes, depth, allowed.bits(self.start, self.stop))
        return scores, np.where(rows < 0, rows, rows + self.start) if self.start else rows


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
        allowed: Selection,
    ) -> NDArray[np.int64]:
        """Return rows near each query, on all cores.

        Args:
            queries: (n, dim) float32.
            depth: How many rows for each.
            nprobe: How many lists to look into.
            reach: See :meth:`AnnIndex.probe`.
            allowed: The rows that may come back.

        Returns:
            (n, depth) int64, nearest by their codes first, -1 where there are no more.
        """
        probes = self.runs[0].index.probe(queries, nprobe, reach)
        return best_of([run.search(probes, depth, allowed) for run in self.runs], depth)[1]


def unmoved(
    runs: tuple[Run, ...], before: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[Run, ...]:
    """Return the first of some runs, as long as their rows have the chunk ids they had before."""

    def is_unmoved(run: Run) -> bool:
        rows = slice(run.start, run.stop)
        return np.array_equal(ids[rows], before[rows])

    return tuple(takewhile(is_unmoved, runs))


def load_runs(
    known: tuple[Run, ...], codebook: NDArray[np.uint8], segments: Sequence[Codes]
) -> Runs:
    """Return the runs of a field in memory.

    Args:
        known: Runs of its first rows, with the same codebook.
        codebook: The trained, empty index.
        segments: The codes of all its rows.
    """
    *starts, rows = _starts(segments)
    runs = list(known)
    start = runs[-1].stop if runs else 0
    while runs and runs[-1].stop - runs[-1].start <= 2 * (rows - start):
        start = runs.pop().start
    if start < rows:
        index = AnnIndex(codebook, sharing=runs[0].index if runs else None)
        for first, codes in zip(starts, segments, strict=True):
            if first + codes.rows > start:
                index.add(codes, first - start)
        index.pack()
        runs.append(Run(index, start, rows))
    return Runs(tuple(runs))


def map_runs(
    known: tuple[Run, ...], codebook: NDArray[np.uint8], segments: Sequence[Codes]
) -> Runs:
    """Return the runs of a field whose codes stay in their files.

    Args:
        known: Runs of some files, with the same codebook.
        codebook: The trained, empty index.
        segments: The codes of all its rows.
    """
    return _run_by_file(known, codebook, segments, AnnIndex.map)


def hold_runs(
    known: tuple[Run, ...],
    codebook: NDArray[np.uint8],
    segments: Sequence[Codes],
    device: "torch.device",
) -> Runs:
    """Return the runs of a field whose codes are copied to a device; see :func:`map_runs`."""
    return _run_by_file(known, codebook, segments, lambda index, codes: index.hold(codes, device))


def _run_by_file(
    known: tuple[Run, ...],
    codebook: NDArray[np.uint8],
    segments: Sequence[Codes],
    take: Callable[[AnnIndex, Codes], None],
) -> Runs:
    indexes = {run.index.file: run.index for run in known}
    starts, runs = _starts(segments), list[Run]()
    for start, codes in zip(starts, segments, strict=False):
        if codes not in indexes:
            indexes[codes] = AnnIndex(codebook, sharing=next(iter(indexes.values()), None))
            take(indexes[codes], codes)
        runs.append(Run(indexes[codes], start, start + codes.rows))
    return Runs(tuple(runs))


def _starts(segments: Sequence[Codes]) -> list[int]:
    """Return the first row of each segment, and behind them how many rows there are."""
    return [0, *accumulate(codes.rows for codes in segments)]
