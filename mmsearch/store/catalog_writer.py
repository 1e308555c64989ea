"""Writing the catalog: rows of new items in, rows of dead items out, one transaction each time."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mmsearch.closing import Closing
from mmsearch.store.batches import batches
from mmsearch.store.catalog import FORMAT, STATE, TABLES, CatalogItem, check_format
from mmsearch.store.columns import (
    MAX_COLUMNS,
    NOTHING,
    Kind,
    Stored,
    kind_of,
    read_columns,
    register,
    stored,
    stored_text,
)
from mmsearch.store.database import connect_writing, damaged, one_integer, transaction, translated
from mmsearch.store.lexical import add_passages, remove_passages
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.seal import Descriptor, breach, read_seal, remove_seal, write_seal
from mmsearch.store.tokens import words
from mmsearch.whole import sync_folder

T = TypeVar("T")
_BATCH = 10_000
"""Items at a time: 10 MB of captions. Each term is counted once for all of them; with 1,000 at a
time, everything takes half as long again."""
_CHECKPOINT_WAIT_MS = 2_000  # searches that hold on to the log end well before


class CatalogWriter(Closing):
    """The one writer of a catalog (the index's writer lock sees to that); a context manager.

    Opens the file, or makes it. Not for several threads at once.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            DamagedIndexError: The file is not what its last writer sealed, or cannot be read.
            IndexFormatError: A newer version wrote it.
        """
        self.path = path
        self._descriptor: Descriptor | None = None
        self._failed = False
        sealed = self._check_seal()
        remove_seal(path)
        try:
            with translated(path):
                self._open(sealed)
        except BaseException:
            self._release()
            raise

    def _open(self, sealed: bool) -> None:
        self._connection = connect_writing(self.path)
        try:
            if not sealed:  # made just now, or its writer was killed: at least its shape is checked
                self._quick_check()
            self._create_or_check()
            self._columns = read_columns(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def _quick_check(self) -> None:
        line = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if line != "ok":
            raise damaged(self.path, line)

    def _release(self) -> None:
        if self._descriptor is not None:
            self._descriptor.release()
            self._descriptor = None

    def _check_seal(self) -> bool:
        """Check the whole file, whatever its size: closing will vouch for all of it."""
        if not self.path.exists():
            return False
        self._descriptor = Descriptor.acquire(self.path)
        problem = breach(self.path, self._descriptor)
        if problem is not None:
            self._release()
            raise damaged(self.path, problem)
        return read_seal(self.path) is not None

    def _create_or_check(self) -> None:
        connection = self._connection
        with transaction(connection, "IMMEDIATE"):
            if not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
                connection.execute(STATE)
                for statement in TABLES:
                    connection.execute(statement)
                connection.execute("INSERT INTO state VALUES (0, 0)")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
        check_format(one_integer(connection, "PRAGMA user_version"), self.path)

    @property
    def stamp(self) -> int:
        """The LMDB commit that the catalog reflects; 0 when it is new."""
        with translated(self.path):
            return one_integer(self._connection, "SELECT stamp FROM state")

    def write(self, added: Iterable[CatalogItem], dead: Iterable[int], stamp: int) -> None:
        """Add rows of new items and remove those of dead ones, in one durable transaction.

        Args:
            added: Items whose ids have no rows yet; read once, a batch at a time.
            dead: Item ids; those without rows are ignored.
            stamp: The LMDB commit that the catalog reflects from now on.
        """
        with self._changing(stamp):
            for ids in batches(dead, _BATCH):
                self._remove(ids)
            for items in batches(added, _BATCH):
                self._add(items)

    def prune(self, next_item_id: int, stamp: int) -> None:
        """Remove rows of items that were never committed, after a crash.

        Args:
            next_item_id: The first id that LMDB has not given out.
            stamp: LMDB's last commit.
        """
        with self._changing(stamp):
            rows = self._connection.execute("SELECT id FROM item WHERE id >= ?", (next_item_id,))
            for ids in batches((row[0] for row in rows.fetchall()), _BATCH):
                self._remove(ids)

    @contextmanager
    def _changing(self, stamp: int) -> Iterator[None]:
        """One transaction that ends with the new stamp; the columns are read again if it fails."""
        with translated(self.path):
            try:
                with transaction(self._connection, "IMMEDIATE"):
                    yield
                    self._connection.execute("UPDATE state SET stamp = ?", (stamp,))
            except BaseException as error:
                self._failed |= isinstance(error, sqlite3.DatabaseError)
                self._columns = read_columns(self._connection)
                raise

    def _add(self, items: Sequence[CatalogItem]) -> None:
        rows = [
            {stored_text(name): stored(value) for name, value in item.columns.items()}
            for item in items
        ]
        register(self._connection, _kinds(rows), self._columns)
        used = [c for c in self._columns.values() if c.number < MAX_COLUMNS]
        used = [column for column in used if any(column.name in row for row in rows)]
        names = ",".join(["id", *(column.sql for column in used)])
        marks = ",".join("?" * (1 + len(used)))
        self._connection.executemany(
            f"INSERT INTO item({names}) VALUES ({marks})",
            (
                (item.item_id, *(row.get(column.name) for column in used))
                for item, row in zip(items, rows, strict=True)
            ),
        )
        passages = {chunk: " ".join(words(text)) for item in items for chunk, text in item.texts}
        add_passages(self._connection, passages)

    def _remove(self, ids: Sequence[int]) -> None:
        marks = ",".join("?" * len(ids))
        rows = self._connection.execute(f"SELECT id FROM item WHERE id IN ({marks})", ids)
        ids = [row[0] for row in rows]  # a caller may name dead items again and again
        spans = [(item_id << CHUNK_BITS, ((item_id + 1) << CHUNK_BITS) - 1) for item_id in ids]
        remove_passages(self._connection, spans)
        self._connection.executemany("DELETE FROM item WHERE id = ?", ((i,) for i in ids))

    def rebuild(self, items: Iterable[CatalogItem], stamp: int) -> None:
        """Replace everything, in one transaction: readers see the old rows until it ends.

        Args:
            items: All items, in any order; read once, a batch at a time.
            stamp: The LMDB commit that they reflect.
        """
        with self._changing(stamp):
            for table in ("passage", "term", "item", "column_name"):
                self._connection.execute(f"DROP TABLE {table}")
            for statement in TABLES:
                self._connection.execute(statement)
            self._connection.execute("UPDATE state SET passages = 0")
            self._columns = {}
            for batch in batches(items, _BATCH):
                self._add(batch)

    def close(self) -> None:
        """Fold the log into the file, close it, and seal it, unless it turned out damaged."""
        try:
            with translated(self.path):
                folded = self._fold_log()
            if folded and not self._failed:
                self._descriptor = self._descriptor or Descriptor.acquire(self.path)
                write_seal(self.path, self._descriptor.seal())
        finally:
            self._release()

    def _fold_log(self) -> bool:
        """Whether it is all in the file; if a reader holds on to it, the next writer does it."""
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_WAIT_MS}")
            return not self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self._connection.close()


def _kinds(rows: Iterable[dict[str, Stored]]) -> dict[str, Kind]:
    seen = {(name, type(value)): value for row in rows for name, value in row.items()}
    kinds: dict[str, Kind] = {}
    for (name, _), value in seen.items():
        kinds[name] = kinds.get(name, NOTHING) | kind_of(value)
    return kinds


def discard(path: Path) -> None:
    """Remove a catalog that cannot be opened, with the files beside it, before a new one is made.

    Only for the writer, and only when the file is of no use: readers that have it open keep it.
    """
    for suffix in (".seal", "", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    sync_folder(path.parent)
