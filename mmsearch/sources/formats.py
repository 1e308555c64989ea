"""Reading JSON lines, CSV and plain lines row by row, and going on after a bad row."""

import csv
import json
import os
from collections import Counter, deque
from collections.abc import Collection, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final, Protocol

from mmsearch.errors import UsageError, one_line
from mmsearch.sources.rows import Row, RowError

ROW_BYTES: Final = 16 * 1024 * 1024
"""The longest line that is read: a file without line breaks must not fill the memory."""
_BOM: Final = b"\xef\xbb\xbf"


def read_text(path: str | os.PathLike[str]) -> str:
    """Return all of a text file.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{one_line(os.fsdecode(path))}: cannot be read: {reason}") from None


class ManifestError(Exception):
    """Why a manifest cannot be read at all: one line, without its path."""


class Rows(Protocol):
    """The rows of a manifest; goes on after a ``RowError``."""

    number: int
    """The number of the last row, 1 for the first."""

    def __iter__(self) -> "Rows": ...

    def __next__(self) -> Row:
        """The next row; raises ``RowError`` if it cannot be read."""
        ...


class Lines:
    """The lines of a file as text; goes on after a ``RowError``.

    Bytes that are not UTF-8 come as surrogates, as in file names: a path may hold them, and in
    any other column they are refused.

    Attributes:
        are_objects: Whether the first one begins as a JSON object does.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        start = file.peek(4)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ManifestError("the manifest is UTF-16: save it as UTF-8")
        if start.startswith(_BOM):
            file.read(len(_BOM))
        self.are_objects = start.removeprefix(_BOM).startswith(b"{")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        self._taken.append(line)
        return line

    def mark(self) -> None:
        """Forget the lines read so far: a row begins."""
        self._taken.clear()

    def back_to_second_line(self) -> None:
        """Read all lines since the mark again, but for the first."""
        self._again.extendleft(reversed(self._taken[1:]))

    def _read(self) -> str:
        line = self._file.readline(ROW_BYTES)
        if not line:
            raise StopIteration
        if len(line) == ROW_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = self._file.readline(ROW_BYTES)
            raise RowError(f"the line is longer than {ROW_BYTES // 2**20} MiB")
        return line.decode("utf-8", "surrogateescape")


class TextRows:
    """One text a line; blank lines are skipped, and counted."""

    def __init__(self, lines: Lines) -> None:
        self.number = 0
        self._lines = lines

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> Row:
        return {"text": self._line()}

    def _line(self) -> str:
        line = ""
        while not line:
            self.number += 1
            self._lines.mark()
            line = next(self._lines).strip()
        return line


class JsonRows(TextRows):
    """One JSON object a line; blank lines are skipped, and counted."""

    def __next__(self) -> Row:
        line = self._line()
        try:
            # NaN and Infinity are no JSON, but what Python's writer makes of missing numbers.
            row = json.loads(line, parse_constant=lambda _: None)
        except json.JSONDecodeError as error:
            raise RowError(f"bad JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise RowError(f"bad JSON: {error}") from None
        if not isinstance(row, dict):
            raise RowError("the row is not a JSON object")
        return row


class CsvRows:
    """The rows of a CSV file whose first line names the columns; strict about quotes.

    Args:
        lines: The file.
        delimiter: What stands between two cells.
        parts: Columns of which at least one must be there.

    Raises:
        ManifestError: The first line cannot be a header.
    """

    def __init__(self, lines: Lines, delimiter: str, parts: Collection[str]) -> None:
        self.number = 0
        self._lines = lines
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            self._columns = [name.strip() for name in self._record()]
        except StopIteration:
            raise ManifestError("the manifest is empty") from None
        except RowError as error:
            raise ManifestError(f"bad header: {error}") from None
        name, times = Counter(filter(None, self._columns)).most_common(1)[0]
        if times > 1:
            raise ManifestError(f"the header names column '{one_line(name)}' twice")
        if not set(parts).intersection(self._columns):
            raise ManifestError(f"the header names none of the columns {', '.join(parts)}")

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> Row:
        self.number += 1
        cells = self._record()
        if len(cells) != len(self._columns):
            raise RowError(f"{len(cells)} values for {len(self._columns)} columns")
        # A column without a name is the row index that data frames write.
        return {name: cell for name, cell in zip(self._columns, cells, strict=True) if name}

    def _record(self) -> list[str]:
        cells: list[str] = []
        while not any(cells):
            self._lines.mark()
            try:
                cells = next(self._reader)
            except (csv.Error, RowError) as error:
                # An unclosed quote takes all lines that follow into its cell: give them back.
                self._lines.back_to_second_line()
                raise RowError(f"bad CSV: {error}") from None
        return cells
