"""LMDB environments: one per path and process, reference-counted, growing on demand."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb

from mmsearch.errors import DamagedIndexError, MMSearchError
from mmsearch.store.guard import DATA, refuse_damaged

DATABASES = (b"meta", b"items", b"keys", b"contents", b"passages", b"failures", b"tombstones")
MAP_BYTES = 64 * 2**30
"""Address space, not disk: the file grows with what is written. Doubled when it is full."""

_open: dict[str, "Environment"] = {}
_open_lock = threading.Lock()
Result = TypeVar("Result")


class Environment:
    """An LMDB environment that several users in one process share.

    LMDB must not be opened twice in a process, and its map must not be resized while a transaction
    is active; this class keeps both rules.
    """

    def __init__(self, path: Path, map_bytes: int) -> None:
        self.path = path
        self.users = 0
        self._gate = threading.Condition()
        self._active = 0
        self._resizing = 0
        with _translated(path):
            self._env = lmdb.open(
                os.fsencode(path), map_size=map_bytes, max_dbs=len(DATABASES), max_readers=1024
            )
            try:
                self._opened = os.stat(path / DATA)
                self._env.reader_check()  # slots of killed readers would keep pages from reuse
                self.databases = {name: self._env.open_db(name) for name in DATABASES}
            except BaseException:
                self._env.close()
                raise

    @contextmanager
    def read(self) -> "Iterator[lmdb.Transaction[bytes]]":
        """Open a read transaction: a consistent view, released on exit."""
        with self._transaction(write=False) as transaction:
            yield transaction

    def write(self, work: "Callable[[lmdb.Transaction[bytes]], Result]") -> Result:
        """Run ``work`` in a write transaction and commit; run it again if the map was full."""
        while True:
            try:
                with self._transaction(write=True) as transaction:
                    return work(transaction)
            except lmdb.MapFullError:
                self._resize(2 * self._env.info()["map_size"])

    @contextmanager
    def _transaction(self, *, write: bool) -> "Iterator[lmdb.Transaction[bytes]]":
        self._enter()
        try:
            with _translated(self.path), self._begin(write=write) as transaction:
                yield transaction
        finally:
            self._leave()

    def _enter(self) -> None:
        """Count a transaction; one that comes while the map is to be resized waits its turn."""
        with self._gate:
            self._gate.wait_for(lambda: not self._resizing)
            self._active += 1

    def _leave(self) -> None:
        with self._gate:
            self._active -= 1
            self._gate.notify_all()

    def _begin(self, *, write: bool) -> "lmdb.Transaction[bytes]":
        try:
            return self._env.begin(write=write)
        except lmdb.MapResizedError:  # another process has grown the map beyond ours
            self._leave()
            try:
                self._resize(0)
            finally:
                self._enter()
            return self._env.begin(write=write)

    def _resize(self, map_bytes: int) -> None:
        with self._gate:
            self._resizing += 1
            try:
                self._gate.wait_for(lambda: self._active == 0)
                self._env.set_mapsize(map_bytes)
            finally:
                self._resizing -= 1
                self._gate.notify_all()

    def is_current(self) -> bool:
        """Whether the open file is still the one in the folder."""
        try:
            return os.path.samestat(os.stat(self.path / DATA), self._opened)
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Close when the last user has gone."""
        with _open_lock:
            self.users -= 1
            if self.users == 0:
                _open.pop(_identity(self.path), None)
                self._env.close()


def acquire(path: Path, map_bytes: int = MAP_BYTES) -> Environment:
    """Open the environment in a folder, or share the one this process has open.

    Raises:
        DamagedIndexError: The file is not a sound LMDB file.
    """
    with _open_lock:
        environment = _open.get(_identity(path))
        if environment and not environment.is_current():
            raise MMSearchError(
                f"{path}: deleted or replaced while this process has it open; close it first"
            )
        if environment is None:
            refuse_damaged(path)
            environment = Environment(path, map_bytes)
            _open[_identity(path)] = environment
        environment.users += 1
        return environment


def _identity(path: Path) -> str:
    return str(path.resolve())


def is_open(path: Path) -> bool:
    """Whether someone in this process has the environment in a folder open."""
    with _open_lock:
        return _identity(path) in _open


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn LMDB's errors into ours; a full or resized map is no error but handled."""
    try:
        yield
    except (lmdb.MapFullError, lmdb.MapResizedError):
        raise
    except lmdb.ReadersFullError as error:
        raise MMSearchError(f"{path}: too many readers at once; try again") from error
    except (lmdb.LockError, lmdb.DiskError, lmdb.ReadonlyError, lmdb.MemoryError) as error:
        raise MMSearchError(f"{path / DATA}: {error}") from error
    except lmdb.Error as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> DamagedIndexError:
    return DamagedIndexError(f"{path / DATA}: damaged ({why}); run `mmsearch repair`")
