"""SQLite connections for a derived file: opening, sharing between threads, and errors."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.errors import DamagedIndexError, MMSearchError
from mmsearch.store.seal import CHECKED_BYTES, Descriptor, breach

_BUSY_S = 30.0
_PAGE_CACHE_KIB = 16 * 1024  # the default of 2 MiB makes a bulk write spill its pages
_TROUBLE = {
    sqlite3.SQLITE_BUSY: "is locked by another process; try again",
    sqlite3.SQLITE_LOCKED: "is locked by another process; try again",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_READONLY: "cannot be written: the file or its folder is read-only",
    sqlite3.SQLITE_PERM: "cannot be opened: permission denied",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: the file is not there or its folder is read-only",
}
"""What is not damage. SQL text here is fixed, so every other error means a damaged file."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, naming the file.

    Raises:
        DamagedIndexError: What SQLite read is not what it wrote.
        MMSearchError: The file is locked, or the disk full or read-only.
    """
    try:
        yield
    except UnicodeDecodeError as error:  # in a text, or in SQLite's message about one
        raise damaged(path, "a text is not UTF-8") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _TROUBLE:
            raise MMSearchError(f"{path} {_TROUBLE[code]}") from error
        raise damaged(path, str(error)) from error


def damaged(path: Path, reason: str) -> DamagedIndexError:
    """The error for a derived file that cannot be trusted."""
    return DamagedIndexError(f"{path} is damaged ({reason}): run `mmsearch repair`")


def connect_writing(path: Path) -> sqlite3.Connection:
    """Open or create a database for its one writer."""
    connection = _connect(path, "rwc")
    connection.execute("PRAGMA journal_mode = WAL")
    # The catalog must never lag behind LMDB after a power cut: its rows go first, so they have to
    # be on the disk when LMDB's commit is.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
    return connection


def connect_reading(path: Path) -> sqlite3.Connection:
    """Open a database for reading, also in a read-only folder when no writer left a log behind."""
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or not path.is_file():
            raise
    # A WAL database wants a -shm file beside it. Without a log it can be read without one, as long
    # as nobody writes, and nobody can where no -shm can be created.
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise damaged(path, "an unfinished write, in a folder that is read-only")
    return _connect(path, "ro&immutable=1")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,  # transactions are begun and ended by name
        check_same_thread=False,  # a connection serves one thread at a time, see Pool
    )
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "DEFERRED") -> Iterator[None]:
    """Commit at the end of the block, or roll back when it raises."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def one_integer(connection: sqlite3.Connection, sql: str) -> int:
    """The first value of the first row; anything else than an integer is damage."""
    value = (connection.execute(sql).fetchone() or (None,))[0]
    if type(value) is not int:
        raise sqlite3.DatabaseError("a number is missing")
    return value


class Pool:
    """Read connections that threads borrow, so that searches run side by side.

    As many connections exist as were ever borrowed at once. One connection per thread would leave
    those of dead threads open; one connection and a lock would let searches wait for each other
    although SQLite releases the interpreter lock.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DamagedIndexError: The file is not what its writer sealed.
        """
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._lent = 0
        self._closed = False
        self._descriptor: Descriptor | None = Descriptor.acquire(path)
        if self._descriptor.size_bytes <= CHECKED_BYTES:
            problem = breach(path, self._descriptor)
            if problem is not None:
                self.close()
                raise damaged(path, problem)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a read transaction: one state of the file throughout."""
        with translated(self._path):
            connection = self._take()
            try:
                with transaction(connection):
                    yield connection
            except BaseException:
                self._give(connection, reuse=False)
                raise
            self._give(connection, reuse=True)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise MMSearchError(f"{self._path} is closed")
            connection = self._idle.pop() if self._idle else connect_reading(self._path)
            self._lent += 1
            return connection

    def _give(self, connection: sqlite3.Connection, *, reuse: bool) -> None:
        with self._lock:
            self._lent -= 1
            if reuse and not self._closed:
                self._idle.append(connection)
                return
            connection.close()
            self._release_when_done()

    def _release_when_done(self) -> None:
        if self._closed and not self._lent and self._descriptor is not None:
            self._descriptor.release()
            self._descriptor = None

    def close(self) -> None:
        """Close idle connections now and lent ones when they come back."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            self._release_when_done()
