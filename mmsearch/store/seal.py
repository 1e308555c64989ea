"""A hash over a whole SQLite file, valid while nobody writes to it.

SQLite checks the shape of its pages, not their content. So a writer that closes cleanly leaves a
small file with the length and the hash of the database beside it, and takes it away before it
writes again. Readers compare before their first answer, up to `CHECKED_BYTES`.
"""

import os
import threading
from pathlib import Path

import xxhash

from mmsearch.whole import sync_folder, written_whole

CHECKED_BYTES = 256 * 1024 * 1024
"""Readers check files up to here: at about 0.25 ms for a megabyte (`benchmarks/where.py`)."""
_PIECE_BYTES = 1024 * 1024


class Descriptor:
    """A file descriptor on a database, shared by all who hold one in this process.

    POSIX drops a process's locks on a file as soon as the process closes any descriptor of it,
    SQLite's locks too (https://sqlite.org/howtocorrupt.html, 2.2). A writer elsewhere would then
    take itself for the last user and remove the log that our connections read. So the descriptor
    that hashing needs closes after the last of our connections, not after hashing.
    """

    _shared: dict[tuple[int, int], "Descriptor"] = {}
    _lock = threading.Lock()

    def __init__(self, path: Path, key: tuple[int, int]) -> None:
        self._key = key
        self._file = os.open(path, os.O_RDONLY)
        self._users = 0

    @classmethod
    def acquire(cls, path: Path) -> "Descriptor":
        """Open the file, or share the descriptor that is open on it."""
        with cls._lock:
            status = os.stat(path)
            key = (status.st_dev, status.st_ino)
            descriptor = cls._shared.get(key) or cls(path, key)
            cls._shared[key] = descriptor
            descriptor._users += 1
            return descriptor

    def release(self) -> None:
        """Give it back, when the holder's connections are closed."""
        with self._lock:
            self._users -= 1
            if not self._users:
                del self._shared[self._key]
                os.close(self._file)

    @property
    def size_bytes(self) -> int:
        """The file's length."""
        return os.fstat(self._file).st_size

    def seal(self) -> str:
        """Length and xxh3-128 of the file, as a seal holds them."""
        digest, buffer, at = xxhash.xxh3_128(), bytearray(_PIECE_BYTES), 0
        while length := os.preadv(self._file, [buffer], at):
            digest.update(memoryview(buffer)[:length])
            at += length
        return f"{at} {digest.hexdigest()}\n"


def breach(path: Path, descriptor: Descriptor) -> str | None:
    """Compare a database with its seal: what is wrong, or ``None``.

    Without a seal (a writer is at work, or was killed) there is nothing to compare with.
    """
    while (seal := read_seal(path)) is not None:
        log = Path(f"{path}-wal")
        if log.exists() and log.stat().st_size:
            problem: str | None = "there is a log that does not belong to it"
        else:
            problem = _difference(descriptor, seal)
        if not problem or read_seal(path) == seal:  # else a writer came in between: look again
            return problem
    return None


def _difference(descriptor: Descriptor, seal: str) -> str | None:
    try:
        return None if descriptor.seal() == seal else "its content is not what was written"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def read_seal(path: Path) -> str | None:
    """The seal beside a database, if there is one."""
    try:
        return _seal_path(path).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None


def remove_seal(path: Path) -> None:
    """Take the seal away, durably, before anything is written."""
    _seal_path(path).unlink(missing_ok=True)
    sync_folder(path.parent)


def write_seal(path: Path, seal: str) -> None:
    """Put a seal beside a database whose log is folded in."""
    with written_whole(_seal_path(path)) as place:
        place.write_text(seal, encoding="ascii")


def _seal_path(path: Path) -> Path:
    return Path(f"{path}.seal")
