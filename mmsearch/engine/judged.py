"""Queries of which is known what is relevant: a manifest, with or without TREC's ``qrels``."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmsearch.engine.inputs import PathLike, absolute
from mmsearch.engine.query import Query
from mmsearch.engine.rows import row_query
from mmsearch.errors import UsageError, one_line
from mmsearch.records import ColumnValue, Failure, Item
from mmsearch.sources import MANIFEST_SUFFIXES, find_items
from mmsearch.sources.rows import RowError
from mmsearch.sources.trec import GRADES, Qrels, read_qrels

RELEVANT = "relevant"
"""The column that names what is relevant."""


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and what is relevant to it.

    Attributes:
        id: Its name, or the number of its row.
        query: What is asked.
        grades: Of the items that were judged, by name; from 1 on they are relevant.
    """

    id: str
    query: Query
    grades: Mapping[str, int]

    @property
    def relevant(self) -> Mapping[str, int]:
        """The grades of the relevant items."""
        return {name: grade for name, grade in self.grades.items() if grade > 0}


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """What an evaluation asks.

    Attributes:
        queries: Those that have something relevant.
        failures: Rows that are no query, and why.
        unjudged: How many queries have nothing relevant.
        unasked: How many queries only the qrels know.
        source: The file that holds them, absolute.
        folder: Where the names of relevant files start, absolute.
    """

    queries: tuple[JudgedQuery, ...]
    failures: tuple[Failure, ...]
    unjudged: int
    unasked: int
    source: str
    folder: str


def read_queries(
    path: PathLike, qrels: PathLike | None, templates: tuple[str, ...]
) -> JudgedQueries:
    """Read queries and what is relevant to them.

    Args:
        path: A manifest: its columns ``text``, ``image``, ``audio``, ``video`` and ``exclude`` are
            what is asked, all of a row in one query; ``id`` names it; ``relevant`` holds the names
            of what is relevant, where there are no qrels.
        qrels: TREC's file instead of that column.
        templates: Sentences around the words.

    Raises:
        UsageError: A file cannot be read, or nothing says what is relevant.
    """
    name = one_line(os.fsdecode(path))
    if os.path.isdir(path) or Path(path).suffix.lower() not in MANIFEST_SUFFIXES:
        kinds = ", ".join(sorted(MANIFEST_SUFFIXES))
        raise UsageError(f"{name}: queries are rows of a manifest ({kinds})")
    judged = None if qrels is None else read_qrels(qrels)
    failures: list[Failure] = []
    rows = list(_rows(find_items([path]), judged, templates, failures))
    queries = tuple(row for row in rows if row.relevant)
    if not queries:
        raise UsageError(_nothing(name, judged, failures))
    known = {row.id for row in rows}
    return JudgedQueries(
        queries,
        tuple(failures),
        len(rows) - len(queries),
        len(judged.keys() - known) if judged else 0,
        absolute(path),
        os.path.dirname(absolute(path if qrels is None else qrels)),
    )


def _rows(
    found: Iterable[object],
    qrels: Qrels | None,
    templates: tuple[str, ...],
    failures: list[Failure],
) -> Iterator[JudgedQuery]:
    for item in found:
        if isinstance(item, Failure):
            failures.append(item)
            continue
        assert isinstance(item, Item)
        try:
            yield _judged(item, qrels, templates)
        except RowError as error:
            failures.append(Failure(item.source, str(error), item.row))


def _judged(item: Item, qrels: Qrels | None, templates: tuple[str, ...]) -> JudgedQuery:
    name = str(item.row)
    if qrels is None:
        grades = _relevant(item.columns.get(RELEVANT))
    elif RELEVANT in item.columns:
        manifest = one_line(item.source)
        raise UsageError(f"{manifest}: has a column {RELEVANT!r} already; leave out the qrels")
    else:
        grades = qrels.get(name, {})
    return JudgedQuery(name, row_query(item, templates), grades)


def _relevant(cell: ColumnValue) -> dict[str, int]:
    """Return the grades by name of a cell: a name, or a list of names and of name with grade."""
    grades: dict[str, int] = {}
    for entry in _entries(cell):
        name, grade = _named(entry)
        if grades.setdefault(name, grade) != grade:
            raise RowError(f"{RELEVANT}: '{one_line(name)}' has two grades")
    return grades


def _entries(cell: ColumnValue) -> Iterable[object]:
    """Return what a cell lists; lists that hold objects come as JSON, and so do those of CSV."""
    if isinstance(cell, tuple):
        return cell
    if isinstance(cell, str) and cell.startswith(("[", "{")):
        try:
            found = json.loads(cell)
        except (ValueError, RecursionError):
            return [cell]  # a name that begins so
        return found if isinstance(found, list) else [found]
    return [] if cell is None else [cell]


def _named(entry: object) -> tuple[str, int]:
    name, grade = entry, 1
    if isinstance(entry, dict):
        if not entry.keys() <= {"item", "grade"}:
            raise RowError(f"{RELEVANT}: an entry has 'item' and 'grade', nothing else")
        name, grade = entry.get("item"), entry.get("grade", 1)
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise RowError(f"{RELEVANT}: an item is named by a text or a whole number")
    if isinstance(grade, bool) or not isinstance(grade, int) or grade not in GRADES:
        raise RowError(f"{RELEVANT}: the grade of '{one_line(str(name))}' is no whole number")
    return str(name), grade


def _nothing(path: str, qrels: Qrels | None, failures: list[Failure]) -> str:
    """Say why there is nothing to ask."""
    if failures:
        row = "" if failures[0].row is None else f" row {failures[0].row}:"
        return f"{path}:{row} {failures[0].reason.removeprefix(f'{path}: ')}; no query is left"
    if qrels is None:
        return f"{path}: no row has a column {RELEVANT!r} that names an item; or give qrels"
    return f"{path}: the qrels hold nothing relevant to any of its queries; do the ids agree?"
