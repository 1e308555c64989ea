"""A segment: chunk ids and float16 vectors of one field, immutable, memory-mapped.

The file is the ids, (rows,) int64 ascending, padded to a whole block, then the vectors,
(rows, dim) float16, row by row.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.store.files import BLOCK_BYTES, CheckedFile, FileInfo, block_span, write_file
from mmsearch.store.manifest import SegmentInfo
from mmsearch.store.once import computed_once

if TYPE_CHECKING:
    import torch

_STREAM_ROWS = 8192


class Segment:
    """An opened segment."""

    def __init__(
        self, folder: Path, info: SegmentInfo, dim: int, device: "torch.device | None" = None
    ) -> None:
        """Map the file and check its ids.

        Args:
            folder: The index folder.
            info: What the manifest says of it.
            dim: Of its vectors.
            device: Where it may be copied to.

        Raises:
            FileNotFoundError: A writer has replaced it since the manifest was read.
            DamagedIndexError: It is not what was written.
        """
        self.info = info
        self.rows = info.rows
        self.dim = dim
        self._device = device
        self.file = CheckedFile(folder, info.vectors)
        self.ids: NDArray[np.int64] = self.file.read(0, 8 * info.rows).view(np.int64)
        self._start = _padded(8 * info.rows)
        self._vectors = (
            self.file.unchecked(self._start, info.vectors.payload_bytes)
            .view(np.float16)
            .reshape(info.rows, dim)
        )

    def check(self, rows: NDArray[np.int64]) -> None:
        """Check the blocks in which some rows lie, each once.

        Raises:
            DamagedIndexError: One is not what was written.
        """
        self.file.check(self._blocks(rows))

    def take(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """Copy the vectors of some rows, which the caller has checked, to (n, dim) float16."""
        self._vectors.take(rows, axis=0, out=out, mode="clip")  # any other mode copies twice

    def blocks(
        self, rows: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Stream (ids, float16 vectors) of some rows, of all by default, checked."""
        wanted = np.arange(self.rows) if rows is None else rows
        for start in range(0, len(wanted), _STREAM_ROWS):
            some = wanted[start : start + _STREAM_ROWS]
            blocks = self._blocks(some)
            self.file.check(blocks)
            vectors = self._vectors[some]  # a copy
            self.file.release(blocks)
            yield self.ids[some], vectors

    @computed_once
    def on_device(self) -> "torch.Tensor":
        """All vectors on the device, (rows, dim) float16, checked."""
        import torch

        copy = torch.empty((self.rows, self.dim), dtype=torch.float16, device=self._device)
        start = 0
        for _, vectors in self.blocks():
            copy[start : start + len(vectors)] = torch.from_numpy(vectors)
            start += len(vectors)
        return copy

    def rows_in(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows whose vectors lie, or begin or end, in some blocks of the file."""
        rows = np.arange(self.rows)
        first, last = block_span(rows, 2 * self.dim, self._start)
        return rows[np.isin(first, blocks) | np.isin(last, blocks)]

    def _blocks(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate(block_span(rows, 2 * self.dim, self._start))


def write_segment(
    folder: Path,
    name: str,
    ids: NDArray[np.int64],
    vectors: Sequence[NDArray[np.float16]] | Iterator[NDArray[np.float16]],
) -> FileInfo:
    """Write a segment's file.

    Args:
        folder: The index folder.
        name: The file's name.
        ids: (rows,) int64 chunk ids, ascending.
        vectors: Blocks of (n, dim) float16 that are rows in the order of ``ids``.
    """

    def payload() -> Iterator[bytes | memoryview]:
        yield ids.tobytes()
        yield bytes(_padded(8 * len(ids)) - 8 * len(ids))
        for block in vectors:
            yield np.ascontiguousarray(block).tobytes()

    return write_file(folder, name, payload())


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
