"""How column values lie in the catalog: one SQLite column per metadata column, named by number.

Numbers stay numbers (true is 1, false is 0), texts are texts, a list is a BLOB of its members in
a form that makes membership a search for a substring. NaN and None are NULL, a missing value.
"""

import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntFlag
from typing import TypeAlias

from mmsearch.errors import UsageError
from mmsearch.records import ColumnValue, Scalar

StoredScalar: TypeAlias = str | int | float | None
Stored: TypeAlias = StoredScalar | bytes

MAX_COLUMNS = 500
"""Later columns are not kept, so they cannot be filtered on: SQLite's tables end at 2,000, and each
ALTER TABLE costs time in proportion to the columns that are there."""

SCHEMA = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY)",
    "CREATE TABLE column_name"
    " (number INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, kinds INTEGER NOT NULL)",
)


class Kind(IntFlag):
    """What values a column has held so far; several when they were mixed."""

    NUMBER = 1
    TEXT = 2
    LIST = 4


NOTHING = Kind(0)
TYPEOF = {Kind.NUMBER: "'integer', 'real'", Kind.TEXT: "'text'", Kind.LIST: "'blob'"}
"""What SQLite's ``typeof`` says of values of a kind, as the members of a list."""


@dataclass(frozen=True, slots=True)
class Column:
    """A metadata column as the catalog knows it.

    Attributes:
        number: Its place in the table ``item``, as ``c{number}``.
        name: Its name in the user's data.
        kinds: What it has held.
    """

    number: int
    name: str
    kinds: Kind

    @property
    def sql(self) -> str:
        """Its name in SQL; ours, so that nothing of the user's data gets into a statement."""
        return f"c{self.number}"


def stored(value: ColumnValue) -> Stored:
    """A column value as SQLite holds it."""
    if isinstance(value, tuple):
        return b"".join(b"\0" + member(each) for each in value) + b"\0"
    return stored_scalar(value)


def stored_text(text: str) -> str:
    """A text, or a column's name, without what SQLite cannot hold or takes for an end."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def stored_scalar(value: Scalar) -> StoredScalar:
    """A scalar as SQLite compares it."""
    if isinstance(value, str):
        return stored_text(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None:
        return None
    number = int(value)
    return number if -(2**63) <= number < 2**63 else _float(number)


def member(value: Scalar) -> bytes:
    """A list member; equal values give equal bytes, and none holds the separator NUL."""
    scalar = stored_scalar(value)
    if isinstance(scalar, str):
        return b"s" + scalar.encode()
    if isinstance(scalar, float) and scalar.is_integer():
        scalar = int(scalar)
    return b"" if scalar is None else b"n" + repr(scalar).encode()


def kind_of(value: Stored) -> Kind:
    """The kind of a stored value; ``NOTHING`` for a missing one."""
    if value is None:
        return NOTHING
    if isinstance(value, bytes):
        return Kind.LIST
    return Kind.TEXT if isinstance(value, str) else Kind.NUMBER


def _float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def read_columns(connection: sqlite3.Connection) -> dict[str, Column]:
    """The columns in the catalog by name, in the order in which they appeared."""
    rows = connection.execute(
        "SELECT number, name, kinds FROM column_name ORDER BY number"
    ).fetchall()
    if any(tuple(map(type, row)) != (int, str, int) for row in rows):
        raise sqlite3.DatabaseError("the names of the columns are unreadable")
    return {name: Column(number, name, Kind(kinds)) for number, name, kinds in rows}


def find_column(name: str, columns: Mapping[str, Column], option: str) -> Column:
    """The column of a name.

    Args:
        name: In the user's data.
        columns: Those that the index knows.
        option: What names it, for the error.

    Raises:
        UsageError: There is none, or its values are not kept.
    """
    column = columns.get(stored_text(name))
    if column is None:
        raise UsageError(f"{option}: there is no column {name!r}; {_existing(name, columns)}")
    if column.number >= MAX_COLUMNS:
        raise UsageError(
            f"{option}: column {name!r} cannot be used; only the first {MAX_COLUMNS:,} of this"
            f" index's {len(columns):,} columns can"
        )
    return column


def _existing(name: str, columns: Mapping[str, Column]) -> str:
    """The columns that there are, those that look alike first."""
    if not columns:
        return "the items of this index have no columns"
    folded: dict[str, list[str]] = {}
    for known in columns:
        folded.setdefault(known.casefold(), []).append(known)
    close = [k for f in get_close_matches(name.casefold(), folded, n=3) for k in folded[f]]
    names = [*close, *sorted(set(columns) - set(close))]
    return "there are " + ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def ordered_kind(column: Column) -> Kind:
    """What values of a column are put in order by: numbers, where it has held some, else texts.

    Raises:
        UsageError: It holds lists.
    """
    if column.kinds == Kind.LIST:
        raise UsageError(
            f"prefer: column {column.name!r} holds lists; prefer numbers, or texts such as dates"
        )
    return (
        Kind.TEXT if Kind.TEXT in column.kinds and Kind.NUMBER not in column.kinds else Kind.NUMBER
    )


def register(
    connection: sqlite3.Connection, kinds: Mapping[str, Kind], known: dict[str, Column]
) -> None:
    """Add columns and kinds that are new to the catalog, to it and to ``known``.

    Columns beyond ``MAX_COLUMNS`` get a row with a number but no place in ``item``.
    """
    for name, kind in kinds.items():
        column = known.get(name)
        if column is not None and kind | column.kinds == column.kinds:
            continue
        number = len(known) if column is None else column.number
        if column is None and number < MAX_COLUMNS:
            connection.execute(f"ALTER TABLE item ADD COLUMN c{number}")
        merged = kind if column is None else kind | column.kinds
        connection.execute(
            "INSERT OR REPLACE INTO column_name VALUES (?, ?, ?)", (number, name, int(merged))
        )
        known[name] = Column(number, name, merged)
