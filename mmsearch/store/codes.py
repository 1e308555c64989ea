"""The codes of a segment, in the order of inverted lists, so that they can be searched on disk.

The file begins with three int64: how many lists, bytes a code, rows. Then there is an int64 for
each list, how many codes it has; then list by list its codes, (n, code_bytes) uint8, and the rows
of the segment that they stand for, (n,) int64 ascending.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.files import BLOCK_BYTES, CheckedFile, FileInfo, write_file
from mmsearch.store.once import computed_once

_HEADER = 3
_ROW_BYTES = 8
_BAND_ROWS = 2**22
"""So many codes are put in order at a time."""


class Encoded(NamedTuple):
    """What codebooks make of n vectors.

    Attributes:
        lists: (n,) int64, the inverted list of each.
        codes: (n, code_bytes) uint8.
    """

    lists: NDArray[np.int64]
    codes: NDArray[np.uint8]


class Probes(NamedTuple):
    """Which lists of an inverted file to look into.

    Attributes:
        queries: (n, dim) float32, past the recipe's transforms.
        lists: (n, nprobe) int64, the best first; -1 where a graph has found no more.
        scores: (n, nprobe) float32, of their centroids.
    """

    queries: FloatArray
    lists: NDArray[np.int64]
    scores: FloatArray


def best_of(
    found: Sequence[tuple[FloatArray, NDArray[np.int64]]], depth: int
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the best of several searches for the same queries, the first of equal ones.

    Args:
        found: Of each search (n, k) float32 scores, and (n, k) int64 rows, -1 for none.
        depth: How many are to be kept at the most.
    """
    if len(found) == 1:
        return found[0]
    scores, rows = (np.hstack(side) for side in zip(*found, strict=True))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)


class CodeList(NamedTuple):
    """One inverted list of a segment.

    Attributes:
        number: Which it is.
        codes: (n, code_bytes) uint8.
        rows: (n,) int64, ascending.
    """

    number: int
    codes: NDArray[np.uint8]
    rows: NDArray[np.int64]


class Codes:
    """An opened file of codes.

    Attributes:
        info: What the manifest says of it.
        nlist: How many lists.
        code_bytes: Of a code.
        rows: How many codes.
    """

    def __init__(self, folder: Path, info: FileInfo) -> None:
        """Map the file and check what it begins with.

        Raises:
            FileNotFoundError: A writer has replaced it since the manifest was read.
            DamagedIndexError: It is not what was written.
        """
        self.info = info
        self._file = CheckedFile(folder, info)
        head = self._file.read(0, 8 * _HEADER).view(np.int64)
        self.nlist, self.code_bytes, self.rows = map(int, head)

    @computed_once
    def sizes(self) -> NDArray[np.int64]:
        """Of each list, (nlist,) int64."""
        return self._file.read(8 * _HEADER, 8 * (_HEADER + self.nlist)).view(np.int64)

    @computed_once
    def starts(self) -> NDArray[np.int64]:
        """Where in the file each list begins and the last one ends, (nlist + 1,) int64."""
        spans = self.sizes * (self.code_bytes + _ROW_BYTES)
        before = 8 * (_HEADER + self.nlist)
        starts: NDArray[np.int64] = before + np.concatenate([[0], np.cumsum(spans)])
        return starts

    @computed_once
    def _sound(self) -> NDArray[np.bool_]:
        """Which lists have been checked."""
        return np.zeros(self.nlist, dtype=bool)

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The file as it is; whoever reads a list calls :meth:`check` before."""
        return self._file.unchecked(0, self.info.payload_bytes)

    def check(self, lists: NDArray[np.int64]) -> None:
        """Check some lists, each once.

        Raises:
            DamagedIndexError: One is not what was written.
        """
        lists = lists[~self._sound[lists]]
        if not len(lists):
            return
        first, last = (self.starts[lists + at] // BLOCK_BYTES for at in (0, 1))
        spans = [np.arange(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        blocks = np.unique(np.concatenate([np.empty(0, np.int64), *spans]))
        self._file.check(blocks[blocks * BLOCK_BYTES < self.info.payload_bytes])
        self._sound[lists] = True

    def fetch(self, lists: NDArray[np.int64]) -> None:
        """Have the system read some lists side by side, and check them.

        Raises:
            DamagedIndexError: One is not what was written.
        """
        self._file.fetch(np.column_stack([self.starts[lists], self.starts[lists + 1]]))
        self.check(lists)

    def lists(self) -> Iterator[CodeList]:
        """Yield the lists that are not empty, checked."""
        occupied = np.flatnonzero(self.sizes)
        self.check(occupied)
        for number in occupied.tolist():
            yield self._list(number)

    def _list(self, number: int) -> CodeList:
        found = self.bytes[self.starts[number] : self.starts[number + 1]]
        size = int(self.sizes[number])
        codes, rows = np.split(found, [size * self.code_bytes])
        return CodeList(number, codes.reshape(size, self.code_bytes), rows.view(np.int64))


def write_codes(folder: Path, name: str, nlist: int, blocks: Iterable[Encoded]) -> FileInfo:
    """Write the codes of a segment.

    Args:
        folder: The index folder.
        name: The file's name.
        nlist: How many lists there are.
        blocks: What the rows have become, in their order, one at least.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        parts = []
        for block in blocks:
            file.write(np.ascontiguousarray(block.codes).data)
            parts.append(block.lists.astype(np.int32))
            code_bytes = block.codes.shape[1]
        file.flush()
        lists = np.concatenate(parts)
        codes = np.memmap(file, np.uint8, "r", shape=(len(lists), code_bytes))
        sizes = np.bincount(lists, minlength=nlist)
        return _write(folder, name, sizes, code_bytes, _by_list(lists, sizes, codes))


def _by_list(
    lists: NDArray[np.int32], sizes: NDArray[np.int64], codes: NDArray[np.uint8]
) -> Iterator[CodeList]:
    """Yield codes list by list; of those in a file, as many are read at a time as fit in memory."""
    order = np.argsort(lists, kind="stable")
    numbers = np.flatnonzero(sizes)
    ends = np.cumsum(sizes[numbers])
    bands = np.split(numbers, np.flatnonzero(np.diff(ends // _BAND_ROWS)) + 1)
    stop = 0
    for band in bands:
        start, stop = stop, stop + int(sizes[band].sum())
        rows = order[start:stop]
        ascending = np.sort(rows)
        read = codes[ascending]
        for number, some in zip(
            band.tolist(), np.split(rows, np.cumsum(sizes[band])[:-1]), strict=True
        ):
            yield CodeList(number, read[np.searchsorted(ascending, some)], some)


def join_codes(folder: Path, name: str, files: Sequence[FileInfo]) -> FileInfo:
    """Write one file for the segment that holds the rows of some, one after the other."""
    parts = [Codes(folder, file) for file in files]
    first_rows = np.cumsum([0, *(part.rows for part in parts)]).tolist()
    sizes = np.sum([part.sizes for part in parts], axis=0)

    def joined(number: int) -> CodeList:
        lists = [part._list(number) for part in parts]
        rows = [one.rows + first for one, first in zip(lists, first_rows, strict=False)]
        return CodeList(number, np.concatenate([one.codes for one in lists]), np.concatenate(rows))

    for part in parts:
        part.check(np.flatnonzero(part.sizes))
    lists = (joined(number) for number in np.flatnonzero(sizes).tolist())
    return _write(folder, name, sizes, parts[0].code_bytes, lists)


def _write(
    folder: Path, name: str, sizes: NDArray[np.int64], code_bytes: int, lists: Iterable[CodeList]
) -> FileInfo:
    def payload() -> Iterator[memoryview]:
        yield np.array([len(sizes), code_bytes, sizes.sum(), *sizes], np.int64).data
        for one in lists:
            yield np.ascontiguousarray(one.codes).data
            yield one.rows.data

    return write_file(folder, name, payload())
