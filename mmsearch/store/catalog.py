"""The catalog: words and columns of an index in one SQLite file, derived from LMDB.

LMDB says what is in an index; the catalog answers three questions fast: which passages hold the
words of a query (`lexical`), which items satisfy an expression over their columns (`where`), and
what they hold in one (`values`).
Rows of an item are written before the LMDB commit that makes it live and removed after the one
that makes it dead. So a reader finds at least what is live in its snapshot and drops the rest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.closing import Closing
from mmsearch.errors import IndexFormatError
from mmsearch.records import ColumnValue
from mmsearch.store import columns, lexical
from mmsearch.store.columns import TYPEOF, Column, find_column, ordered_kind, read_columns
from mmsearch.store.database import Pool, damaged, one_integer

FORMAT = 1
Ordered: TypeAlias = str | float
"""A value of a column; those of one column are of one kind."""

STATE = "CREATE TABLE state (stamp INTEGER NOT NULL, passages INTEGER NOT NULL)"
TABLES = (*columns.SCHEMA, *lexical.SCHEMA)


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """What the catalog holds of an item.

    Attributes:
        item_id: Below 2^43, so that chunk ids fit 63 bits.
        columns: The item's metadata.
        texts: (chunk id, text): passages, declared text columns and the file's name.
    """

    item_id: int
    columns: Mapping[str, ColumnValue]
    texts: Sequence[tuple[int, str]]


EVERY_CHUNK = range(2**63 - 1)


class Catalog(Closing):
    """A catalog open for reading, by any number of threads; a context manager.

    Raises:
        DamagedIndexError: The file is missing or is not what was written.
        IndexFormatError: A newer version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise damaged(path, "the file is missing")
        self._pool = Pool(path)
        try:
            with self._pool.snapshot() as connection:
                check_format(one_integer(connection, "PRAGMA user_version"), path)
        except BaseException:
            self.close()
            raise

    @property
    def stamp(self) -> int:
        """The LMDB commit that the catalog reflects; 0 when it is new."""
        with self._pool.snapshot() as connection:
            return one_integer(connection, "SELECT stamp FROM state")

    def columns(self) -> tuple[Column, ...]:
        """The metadata columns that items have had, in order of appearance."""
        with self._pool.snapshot() as connection:
            return tuple(read_columns(connection).values())

    def lexical(
        self, query: str, limit: int, chunks: range = EVERY_CHUNK
    ) -> list[tuple[int, float]]:
        """The passages that hold words of a query, as (chunk id, score in 0..1), best first.

        Nothing in the query is an operator. See `mmsearch.store.lexical` for the score and for
        how the work is bounded.

        Args:
            query: What is asked for.
            limit: How many are wanted.
            chunks: Which ids may be found. The rows of a commit that is being made, or was killed,
                lie outside of it.
        """
        with self._pool.snapshot() as connection:
            passages = one_integer(connection, "SELECT passages FROM state")
            return lexical.rank(connection, query, limit, passages, chunks)

    def where(self, expression: str) -> NDArray[np.int64]:
        """The items whose columns satisfy an expression (docs/where.md).

        Returns:
            (n,) int64, item ids in ascending order.

        Raises:
            UsageError: The expression is not in the language, or names an unknown column.
        """
        from mmsearch.store.where import compile_where

        with self._pool.snapshot() as connection:
            condition = compile_where(expression, read_columns(connection))
            # Half the time of fetching half a million rows one by one.
            ids = connection.execute(
                f"SELECT group_concat(rowid) FROM item WHERE {condition.sql}", condition.values
            ).fetchone()[0]
        return np.sort(np.fromstring(ids or "", dtype=np.int64, sep=","))

    def values(self, name: str, ids: NDArray[np.int64] | None = None) -> dict[int, Ordered]:
        """The values of a column that can be put in order, by item: numbers, else texts.

        Args:
            name: Of the column.
            ids: (n,) int64, of which items; each is looked up. Of all by default, in one pass.

        Raises:
            UsageError: There is no such column, or it holds lists.
        """
        with self._pool.snapshot() as connection:
            column = find_column(name, read_columns(connection), "prefer")
            fits = f"typeof({column.sql}) IN ({TYPEOF[ordered_kind(column)]})"
            if ids is None:
                return dict(connection.execute(f"SELECT id, {column.sql} FROM item WHERE {fits}"))
            named = "json_each(?) AS named CROSS JOIN item ON item.id = named.value"
            statement = f"SELECT item.id, {column.sql} FROM {named} WHERE {fits}"
            return dict(connection.execute(statement, (json.dumps(ids.tolist()),)))

    def close(self) -> None:
        """Close the file."""
        self._pool.close()


def check_format(version: int, path: Path) -> None:
    """Refuse a file of a newer version."""
    if version > FORMAT:
        raise IndexFormatError(f"{path} has format {version}, this version reads {FORMAT}: upgrade")
    if version != FORMAT:
        raise damaged(path, f"format {version}")
