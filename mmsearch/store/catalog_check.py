"""A full comparison of a catalog with what LMDB says should be in it."""

import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from mmsearch.errors import DamagedIndexError
from mmsearch.store.catalog import FORMAT, CatalogItem
from mmsearch.store.columns import (
    MAX_COLUMNS,
    NOTHING,
    Column,
    Stored,
    kind_of,
    read_columns,
    stored,
    stored_text,
)
from mmsearch.store.database import connect_reading, translated
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.seal import Descriptor, breach
from mmsearch.store.tokens import words

_MAX_PROBLEMS = 20


def check_catalog(
    path: Path, expected: Iterable[CatalogItem], pending: Collection[int] = ()
) -> list[str]:
    """What is damaged in a catalog; empty when every answer is what it should be.

    Works on a copy in the system's folder for temporary files, because FTS5 can compare its index
    with its texts only in a file that it may write to. Bytes that no answer depends on (free space
    inside pages, the log's index) are covered by the seal only.

    Args:
        path: The catalog.
        expected: Every live item, in any order.
        pending: Ids of dead items whose rows may not have been removed yet.
    """
    problems: list[str] = []
    try:
        with translated(path), tempfile.TemporaryDirectory(prefix="mmsearch-") as folder:
            descriptor = Descriptor.acquire(path)
            try:
                found = breach(path, descriptor)
                copy = _copy(path, Path(folder) / "catalog.sqlite")
            finally:
                descriptor.release()
            problems.extend([found] if found else [])
            with closing(copy):
                for problem in _problems(copy, expected, pending):
                    problems.append(problem)
                    if len(problems) >= _MAX_PROBLEMS:
                        return [*problems, "and more"]
    except FileNotFoundError:
        return [f"{path} is missing"]
    except DamagedIndexError as error:
        problems.append(str(error))
    return problems


def _copy(path: Path, target: Path) -> sqlite3.Connection:
    copy = sqlite3.connect(target, isolation_level=None)
    with closing(connect_reading(path)) as source:
        source.backup(copy)
    return copy


def _problems(
    copy: sqlite3.Connection, expected: Iterable[CatalogItem], pending: Collection[int]
) -> Iterator[str]:
    for (line,) in copy.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
        if line != "ok":
            yield line
    copy.execute("INSERT INTO passage(passage) VALUES ('integrity-check')")
    yield from _count_problems(copy)
    columns = read_columns(copy)
    live = passages = 0
    for item in expected:
        live += 1
        passages += len(item.texts)
        yield from _item_problems(copy, item, columns)
    for item_id in pending:
        live += copy.execute("SELECT count(*) FROM item WHERE id = ?", (item_id,)).fetchone()[0]
        passages += len(_passages(copy, item_id))
    for table, count in (("item", live), ("passage", passages)):
        extra = copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] - count
        if extra > 0:
            yield f"{extra} rows of table {table} belong to no item"


def _count_problems(copy: sqlite3.Connection) -> Iterator[str]:
    """The stored counts against FTS5's own."""
    copy.execute("CREATE VIRTUAL TABLE temp.passage_term USING fts5vocab(main, passage, row)")
    stored_terms, real_terms = (
        "SELECT term, passages FROM term",
        "SELECT term, doc FROM passage_term",
    )
    for left, right in ((stored_terms, real_terms), (real_terms, stored_terms)):
        for term, count in copy.execute(f"{left} EXCEPT {right} LIMIT {_MAX_PROBLEMS}"):
            yield f"the count of term {term!r} ({count}) is wrong"
    if copy.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
        yield "the format number is wrong"
    rows = copy.execute("SELECT stamp, passages FROM state").fetchall()
    count = copy.execute("SELECT count(*) FROM passage").fetchone()[0]
    if len(rows) != 1 or type(rows[0][0]) is not int or rows[0][1] != count:
        yield "the count of passages is wrong"


def _item_problems(
    copy: sqlite3.Connection, item: CatalogItem, columns: dict[str, Column]
) -> Iterator[str]:
    cursor = copy.execute("SELECT * FROM item WHERE id = ?", (item.item_id,))
    row: tuple[Stored, ...] | None = cursor.fetchone()
    if row is None:
        yield f"item {item.item_id} is missing"
        return
    names = [each[0] for each in cursor.description]
    held = {name: value for name, value in zip(names, row, strict=True) if value is not None}
    wanted: dict[str, Stored] = {"id": item.item_id}
    for name, value in item.columns.items():
        column = columns.get(stored_text(name))
        kept = stored(value)
        if column is None or column.kinds | kind_of(kept) != column.kinds:
            yield f"column {name!r} is missing or of another kind"
        elif column.number < MAX_COLUMNS and kind_of(kept) is not NOTHING:
            wanted[column.sql] = kept
    if {k: (type(v), v) for k, v in held.items()} != {k: (type(v), v) for k, v in wanted.items()}:
        yield f"the columns of item {item.item_id} are wrong"
    if _passages(copy, item.item_id) != {c: " ".join(words(text)) for c, text in item.texts}:
        yield f"the texts of item {item.item_id} are wrong"


def _passages(copy: sqlite3.Connection, item_id: int) -> dict[int, str]:
    span = (item_id << CHUNK_BITS, ((item_id + 1) << CHUNK_BITS) - 1)
    return dict(copy.execute("SELECT rowid, words FROM passage WHERE rowid BETWEEN ? AND ?", span))
