"""The writer lock: one writer at a time, on whatever machine shares the folder."""

import fcntl
import os
from pathlib import Path

from mmsearch.errors import IndexLockedError

LOCK = "writer.lock"


class WriterLock:
    """An advisory lock held from construction to :meth:`release`; the kernel frees a dead one."""

    def __init__(self, folder: Path, name: str = LOCK) -> None:
        """Take the lock.

        Args:
            folder: The index folder.
            name: The lock's file: that of the index's writer, or of one kind of work on it.

        Raises:
            IndexLockedError: Another process, or another writer in this one, holds it.
        """
        self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise IndexLockedError(
                f"{folder}: another process is writing to this index"
                f"{f' (pid {holder})' if holder else ''}; try again when it is done"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        os.ftruncate(self._file, 0)
        os.close(self._file)
