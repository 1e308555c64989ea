"""Immutable files that are checked before they are believed.

A file is its payload followed by one xxh3-64 for each block of ``BLOCK_BYTES``. What names the file
(:class:`FileInfo`, kept in LMDB) holds its size and the hash of that table, so each block can be
checked on its own when it is first read: opening a large file costs its table, not its payload.
"""

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError
from mmsearch.whole import written_whole

BLOCK_BYTES = 16 * 1024
"""Small, because re-scoring reads single rows: each costs the check of one or two blocks."""


def block_span(
    rows: NDArray[np.int64], row_bytes: int, start: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return in which blocks some rows begin and end, rows of one size behind a start."""
    first = start + rows * row_bytes
    return first // BLOCK_BYTES, (first + row_bytes - 1) // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What LMDB knows of an immutable file.

    Attributes:
        name: Its name in the index folder.
        payload_bytes: Length without the table of block hashes.
        digest: xxh3-64 of that table, in hex.
    """

    name: str
    payload_bytes: int
    digest: str

    @property
    def size_bytes(self) -> int:
        """Length of the whole file."""
        return self.payload_bytes + 8 * -(-self.payload_bytes // BLOCK_BYTES)


def write_file(folder: Path, name: str, payload: Iterable[bytes | memoryview]) -> FileInfo:
    """Write an immutable file durably: it is complete on disk, or not there under its name."""
    writer = _BlockHasher()
    with written_whole(folder / name) as temporary, temporary.open("wb") as file:
        for piece in payload:
            file.write(piece)
            writer.update(piece)
        table = writer.table()
        file.write(table)
    return FileInfo(name, writer.total, xxhash.xxh3_64_hexdigest(table))


class _BlockHasher:
    """Hashes a stream block by block."""

    def __init__(self) -> None:
        self.total = 0
        self._hash = xxhash.xxh3_64()
        self._digests: list[bytes] = []

    def update(self, piece: bytes | memoryview) -> None:
        view = memoryview(piece).cast("B")
        while len(view):
            room = BLOCK_BYTES - self.total % BLOCK_BYTES
            self._hash.update(view[:room])
            self.total += min(room, len(view))
            view = view[room:]
            if self.total % BLOCK_BYTES == 0:
                self._close_block()

    def _close_block(self) -> None:
        self._digests.append(self._hash.digest())
        self._hash.reset()

    def table(self) -> bytes:
        if self.total % BLOCK_BYTES:
            self._close_block()
        return b"".join(self._digests)


class CheckedFile:
    """A memory-mapped immutable file whose blocks are checked when they are first read."""

    def __init__(self, folder: Path, info: FileInfo) -> None:
        """Map the file.

        Raises:
            FileNotFoundError: It is gone (a writer has replaced it since the manifest was read).
            DamagedIndexError: Its length or its table of hashes is not what LMDB says.
        """
        self.path = folder / info.name
        self.info = info
        if self.path.stat().st_size != info.size_bytes:
            raise self._damaged("its length has changed")
        self._map: mmap.mmap | None = None  # an empty file cannot be mapped
        if info.size_bytes:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map or b"", np.uint8)
        table = self._bytes[info.payload_bytes :].tobytes()
        if xxhash.xxh3_64_hexdigest(table) != info.digest:
            raise self._damaged("its table of checksums has changed")
        # Big-endian is xxhash's canonical digest order.
        self._table = np.frombuffer(table, dtype=">u8")
        self._checked = np.zeros(len(self._table), dtype=bool)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return bytes [start, stop) as a view, checked.

        Raises:
            DamagedIndexError: A block's checksum fails.
        """
        self.check(np.arange(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)))
        return self._bytes[start:stop]

    def unchecked(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return bytes [start, stop) as a view; the caller calls :meth:`check` before reading."""
        return self._bytes[start:stop]

    def check(self, blocks: NDArray[np.int64]) -> None:
        """Check the given blocks, each once in the life of this object."""
        for block in np.unique(blocks[~self._checked[blocks]]):
            if not self._block_is_sound(int(block)):
                raise self._damaged(f"block {block} fails its checksum")
            self._checked[block] = True

    def release(self, blocks: NDArray[np.int64]) -> None:
        """Let go of the memory from the first to the last of some blocks, which can be read again.

        Whoever streams through a file would otherwise hold all of it in memory in the end.
        """
        if self._map is not None and len(blocks):
            start = int(blocks.min()) * BLOCK_BYTES // mmap.PAGESIZE * mmap.PAGESIZE
            length = (int(blocks.max()) + 1) * BLOCK_BYTES - start
            self._map.madvise(mmap.MADV_DONTNEED, start, min(length, len(self._map) - start))

    def fetch(self, spans: NDArray[np.int64]) -> None:
        """Have the system read some parts side by side, (n, 2): where each begins and ends."""
        if self._map is not None:
            starts = spans[:, 0] // mmap.PAGESIZE * mmap.PAGESIZE
            for start, length in zip(starts.tolist(), (spans[:, 1] - starts).tolist(), strict=True):
                self._map.madvise(mmap.MADV_WILLNEED, start, length)

    def damaged_blocks(self) -> NDArray[np.int64]:
        """Check every block again, from the file: the numbers of those that fail."""
        sound = [self._block_is_sound(block) for block in range(len(self._table))]
        return np.flatnonzero(~np.array(sound, dtype=bool))

    def _block_is_sound(self, block: int) -> bool:
        start = block * BLOCK_BYTES
        payload = self._bytes[start : min(start + BLOCK_BYTES, self.info.payload_bytes)]
        return xxhash.xxh3_64_intdigest(payload.data) == int(self._table[block])

    def _damaged(self, what: str) -> DamagedIndexError:
        return DamagedIndexError(f"{self.path}: {what}; run `mmsearch repair`")
