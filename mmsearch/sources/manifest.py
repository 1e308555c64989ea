"""Manifests: JSON lines and CSV files whose rows are items, and lists of texts."""

import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from io import BufferedReader

from mmsearch.errors import one_line
from mmsearch.records import Failure, Item
from mmsearch.sources.formats import CsvRows, JsonRows, Lines, ManifestError, Rows, TextRows
from mmsearch.sources.rows import PART_COLUMNS, RowError, csv_value, json_value, row_id, row_item
from mmsearch.sources.suffixes import MANIFEST_SUFFIXES, suffix_of
from mmsearch.sources.walk import reason_of

STDIN = "-"
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


class ManifestReader:
    """Reads manifests row by row, and remembers which text columns it has met.

    Args:
        text_columns: Columns that become text parts.
    """

    def __init__(self, text_columns: Sequence[str]) -> None:
        self._text_columns = tuple(text_columns)
        self._missing = set(text_columns)
        self._last = ""

    def items(self, path: str) -> Iterator[Item | Failure]:
        """The rows of one manifest; a row that is no item is a failure, and the rest goes on.

        Args:
            path: The manifest, or ``-`` for what comes on the standard input. What has not the name
                of a manifest is one if its first line begins a JSON object, else a text a line.
        """
        self._last = path
        try:
            with open(0 if path == STDIN else path, "rb", closefd=path != STDIN) as file:
                yield from self._items(path, file)
        except OSError as error:
            yield Failure(path, reason_of(error))
        except ManifestError as error:
            yield Failure(path, str(error))

    def missing_columns(self) -> Iterator[Failure]:
        """A failure for each text column that no row of any manifest has."""
        for column in sorted(self._missing):
            yield Failure(self._last, f"text column '{one_line(column)}': no row has this column")

    def _items(self, path: str, file: BufferedReader) -> Iterator[Item | Failure]:
        rows, value = self._open(path, file)
        ids = RowNames()
        empty = True
        while True:
            try:
                row = next(rows)
                empty = False
                self._missing.difference_update(row)
                name = ids.claim(row_id(row), rows.number)
                yield row_item(path, name, row, self._text_columns, value)
            except StopIteration:
                break
            except RowError as error:
                empty = False
                yield Failure(path, str(error), str(rows.number))
        if empty:
            raise ManifestError("the manifest has no rows")

    def _open(self, path: str, file: BufferedReader) -> tuple[Rows, Callable[[object], object]]:
        lines = Lines(file)
        delimiter = _DELIMITERS.get(suffix_of(path))
        if delimiter:
            return CsvRows(lines, delimiter, (*PART_COLUMNS, *self._text_columns)), csv_value
        has_objects = suffix_of(path) in MANIFEST_SUFFIXES or lines.are_objects
        return (JsonRows if has_objects else TextRows)(lines), json_value


class RowNames:
    """The names of the rows of one manifest, each used once: 16 bytes for each row with an id."""

    def __init__(self) -> None:
        self._taken: set[bytes] = set()
        self._nameless = False

    def claim(self, own: str | None, number: int) -> str:
        """The row's own id, else its number.

        Raises:
            RowError: Another row has that name, or may have it.
        """
        if own is None and not self._taken:
            self._nameless = True
            return str(number)
        name = str(number) if own is None else own
        digest = blake2b(os.fsencode(name), digest_size=16).digest()
        # Numbers are not kept, for memory: an id that may be the number of an earlier row is one.
        earlier = own is not None and self._nameless and _is_number_below(number, own)
        if digest in self._taken or earlier:
            raise RowError(f"another row has the id '{one_line(name)}'")
        if own is None:
            self._nameless = True
        else:
            self._taken.add(digest)
        return name


def _is_number_below(limit: int, name: str) -> bool:
    """Whether a name is how a row before ``limit`` would be numbered."""
    short = name.isdecimal() and len(name) <= len(str(limit))
    return short and name == str(int(name)) and int(name) < limit
