"""How near the vectors of a field are to what is usually asked of it.

Some vectors are near to almost any query and crowd out what is meant (hubs: Radovanovic et al.
2010, "Hubs in Space"). A bank of queries shows which: Nearest Neighbor Normalization (Chowdhury et
al. 2024, arXiv 2410.24114) subtracts from a score a share of the vector's mean similarity to those
queries of the bank that are nearest to it. Beside each segment lies a file of these means, (rows,)
float32.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError
from mmsearch.records import FloatArray
from mmsearch.store.files import CheckedFile, FileInfo, block_span, write_file
from mmsearch.store.manifest import Bank
from mmsearch.store.once import computed_once

_ROW_BYTES = 4
_NEAREST_SHARE = 32
"""The nearest are one query in so many. For captions and photos as `mini` embeds them, rankings
hardly change between one in 8 and one in 125."""
_BLOCK_ROWS = 2_048
_SMALL_ROWS = 250_000
"""Up to here all of a field is held in memory, 1 MB."""


def nearness(vectors: FloatArray, bank: FloatArray) -> FloatArray:
    """Return how near vectors are to the queries of a bank.

    Args:
        vectors: (n, dim) float32.
        bank: (m, dim) float32, at least one.

    Returns:
        (n,) float32: the mean similarity (inner product) to the nearest queries, one in 32 of the
        bank. Computed in double precision: a product rounds a row otherwise when its neighbours
        change, and then equal vectors would get unequal scores.
    """
    first = len(bank) - max(1, len(bank) // _NEAREST_SHARE)
    queries = bank.T.astype(np.float64)
    means = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        some = slice(start, start + _BLOCK_ROWS)
        similarities = vectors[some].astype(np.float64) @ queries
        means[some] = np.partition(similarities, first, axis=1)[:, first:].mean(axis=1)
    return means


def load_bank(folder: Path, bank: Bank) -> FloatArray:
    """Return the queries of a bank, (queries, dim) float32.

    Raises:
        DamagedIndexError: They are missing, or not what was written.
    """
    try:
        file = CheckedFile(folder, bank.vectors)
    except FileNotFoundError as error:  # a writer reads it, so nobody has replaced it
        raise DamagedIndexError(f"{error.filename}: missing; run `mmsearch repair`") from error
    return read_bank(file, bank)


def read_bank(file: CheckedFile, bank: Bank) -> FloatArray:
    """Return the queries of a bank from its open file, (queries, dim) float32."""
    halves = file.read(0, bank.vectors.payload_bytes).view(np.float16)
    return halves.reshape(bank.queries, -1).astype(np.float32)


def write_nearness(
    folder: Path, name: str, bank: Bank, blocks: Iterable[NDArray[np.float16]]
) -> FileInfo:
    """Write how near the rows of a segment are to a bank.

    Args:
        folder: The index folder.
        name: The file's name.
        bank: The bank.
        blocks: The segment's vectors, (n, dim) float16 each.
    """
    queries = load_bank(folder, bank)
    rows = (nearness(block.astype(np.float32), queries).tobytes() for block in blocks)
    return write_file(folder, name, rows)


class Nearness:
    """How near all rows of a field are to what queries of one modality usually are."""

    def __init__(self, files: Sequence[CheckedFile]) -> None:
        """Take the files of the field's segments, in their order."""
        self._files = files
        self._starts = np.cumsum([0, *(f.info.payload_bytes // _ROW_BYTES for f in files)])

    def take(self, rows: NDArray[np.int64]) -> FloatArray:
        """Return that of some rows, (n,) float32, checked."""
        if self._starts[-1] <= _SMALL_ROWS:
            return self.everything[rows]
        order = np.argsort(rows)
        found = np.empty(len(rows), np.float32)
        found[order] = np.concatenate([*self._parts(rows[order])])
        return found

    @computed_once
    def everything(self) -> FloatArray:
        """That of all rows, (rows,) float32, checked."""
        parts = (file.read(0, file.info.payload_bytes).view(np.float32) for file in self._files)
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _parts(self, rows: NDArray[np.int64]) -> Iterator[FloatArray]:
        """Yield that of the rows of each segment, ascending."""
        ends = np.searchsorted(rows, self._starts).tolist()
        spans = zip(self._files, self._starts.tolist(), ends, ends[1:], strict=False)
        for file, start, first, last in spans:
            local = rows[first:last] - start
            file.check(np.concatenate(block_span(local, _ROW_BYTES)))
            yield file.unchecked(0, file.info.payload_bytes).view(np.float32)[local]
