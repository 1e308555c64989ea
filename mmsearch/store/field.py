"""All vectors of one field at one commit: opened segments, looked up by chunk id."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.ann import AnnIndex
from mmsearch.store.files import CheckedFile, FileInfo
from mmsearch.store.manifest import FieldInfo
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.once import computed_once
from mmsearch.store.segment import Segment


class Field:
    """The vectors of a field; immutable, so threads share it."""

    def __init__(self, folder: Path, info: FieldInfo, previous: "Field | None" = None) -> None:
        """Open the segments, those of ``previous`` that are still part of the field again.

        Raises:
            FileNotFoundError: A writer has replaced one since the manifest was read.
            DamagedIndexError: One is not what was written.
        """
        self.info = info
        self._folder = folder
        opened = {s.info.vectors: s for s in previous.segments} if previous else {}
        self.segments: list[Segment] = [
            opened.get(segment.vectors) or Segment(folder, segment, info.dim)
            for segment in info.segments
        ]
        self._codes = [CheckedFile(folder, s.codes) for s in info.segments if s.codes]
        self._codebook = CheckedFile(folder, info.codebook) if info.codebook else None
        self._starts = np.cumsum([0, *(segment.rows for segment in self.segments)])
        self.ids: NDArray[np.int64] = np.concatenate(
            [np.empty(0, np.int64), *(segment.ids for segment in self.segments)]
        )

    @property
    def rows(self) -> int:
        """Vectors, those of deleted items included."""
        return len(self.ids)

    @computed_once
    def owners(self) -> NDArray[np.int64]:
        """The item id of each row, (rows,) int64."""
        return self.ids >> CHUNK_BITS

    def find(self, chunk_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of those chunk ids that the field has; ids ascend with rows."""
        rows = np.searchsorted(self.ids, chunk_ids)
        within = rows < self.rows
        rows, chunk_ids = rows[within], chunk_ids[within]
        found: NDArray[np.int64] = rows[self.ids[rows] == chunk_ids]
        return found

    def gather(self, rows: NDArray[np.int64]) -> FloatArray:
        """Return the vectors of some rows as (n, dim) float32, checked against their hashes."""
        vectors = np.empty((len(rows), self.info.dim), np.float32)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            vectors[mine] = self.segments[number].gather(rows[mine] - self._starts[number])
        return vectors

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Stream (chunk ids, float16 vectors) in the order of rows, checked."""
        for segment in self.segments:
            yield from segment.blocks()

    @computed_once
    def matrix(self) -> FloatArray:
        """All vectors, (rows, dim) float32: for fields small enough to be searched exactly."""
        matrix = np.empty((self.rows, self.info.dim), np.float32)
        start = 0
        for _, vectors in self.blocks():
            matrix[start : start + len(vectors)] = vectors
            start += len(vectors)
        return matrix

    @computed_once
    def ann(self) -> AnnIndex | None:
        """The FAISS index over all rows, or None where the field is searched exactly."""
        if self._codebook is None:
            return None
        index = AnnIndex(read_all(self._codebook))
        for segment, file in zip(self.segments, self._codes, strict=True):
            index.add(read_all(file).reshape(segment.rows, index.code_bytes), segment.ids)
        return index


def read_all(file: CheckedFile) -> NDArray[np.uint8]:
    """Return a file's whole payload, checked."""
    return file.read(0, file.info.payload_bytes)


def load_codebook(folder: Path, info: FileInfo) -> AnnIndex:
    """Load a trained, empty index."""
    return AnnIndex(read_all(CheckedFile(folder, info)))
