"""Many queries from a file: read, asked and answered a block at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from mmsearch.engine.index import Index
from mmsearch.engine.inputs import PathLike
from mmsearch.engine.opened import BATCH
from mmsearch.engine.query import Query, sentences
from mmsearch.engine.request import SearchOptions, request_of
from mmsearch.engine.rows import row_query
from mmsearch.errors import DecodeError, UsageError, one_line
from mmsearch.records import Failure, Hit, Item
from mmsearch.sources import find_rows
from mmsearch.sources.rows import RowError
from mmsearch.store.batches import batches


@dataclass(frozen=True, slots=True)
class Answer:
    """What one row was answered.

    Attributes:
        id: Its name, or its number.
        query: What it asks; ``None`` where it is no query.
        hits: What was found, best first.
        failure: Why it could not be asked.
    """

    id: str
    query: Query | None = None
    hits: Sequence[Hit] = ()
    failure: Failure | None = None


def answers(
    index: Index,
    path: PathLike,
    *,
    templates: str | Sequence[str] = (),
    **options: Unpack[SearchOptions],
) -> Iterator[Answer]:
    """Answer the queries of a file in their order, in the memory that a block of them takes.

    Args:
        index: Where to look.
        path: A text a line, or a manifest with columns ``text``, ``image``, ``audio``, ``video``
            and ``exclude``, all of a row in one query, and ``id``; ``-`` is the standard input.
        templates: Sentences around the words.
        options: As for :meth:`Index.search`.

    Raises:
        UsageError: The file cannot be read, or an option makes no sense for a search.
    """
    request = request_of(options)
    for block in batches(_read(find_rows(path), sentences(templates)), BATCH):
        asked = [n for n, row in enumerate(block) if row.query]
        reasons: dict[int, DecodeError] = {}
        queries = [row.query for row in block if row.query]
        found = index._search(queries, request, reasons.__setitem__)
        for place, (number, hits) in enumerate(zip(asked, found, strict=True)):
            block[number] = _answered(block[number], hits, reasons.get(place), path)
        yield from block


def _read(rows: Iterable[Item | Failure], templates: tuple[str, ...]) -> Iterator[Answer]:
    """Yield what is asked, still without an answer.

    Raises:
        UsageError: The file as a whole cannot be read.
    """
    for row in rows:
        if isinstance(row, Item):
            yield _asked(row, templates)
        elif row.row is None:
            raise UsageError(f"{one_line(row.source)}: {row.reason}")
        else:
            yield Answer(row.row, failure=row)


def _asked(row: Item, templates: tuple[str, ...]) -> Answer:
    try:
        return Answer(str(row.row), row_query(row, templates))
    except RowError as error:
        return Answer(str(row.row), failure=Failure(row.source, str(error), row.row))


def _answered(
    row: Answer, hits: Sequence[Hit], reason: DecodeError | None, path: PathLike
) -> Answer:
    if reason is None:
        return replace(row, hits=hits)
    return replace(row, failure=Failure(str(path), str(reason), row.id))
