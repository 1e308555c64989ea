"""From one row of a manifest to an item."""

import json
import math
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from mmsearch.errors import UsageError, one_line
from mmsearch.records import ColumnValue, Item, Modality, Part, Scalar
from mmsearch.sources.suffixes import is_video, modalities_of

Row: TypeAlias = Mapping[str, object]
"""A row as its format gives it: JSON values, or the strings of a CSV file."""

_FILE_COLUMNS: Final = {
    "image": (Modality.IMAGE,),
    "audio": (Modality.AUDIO,),
    "video": (Modality.IMAGE, Modality.AUDIO),
    "path": None,
    "file": None,
}
PART_COLUMNS: Final = (*_FILE_COLUMNS, "text")


class RowError(Exception):
    """Why a row, or a whole manifest, is not indexed: one line without its name and number."""


def check_text_columns(columns: Iterable[str]) -> None:
    """Refuse text columns that name files.

    Raises:
        UsageError: A column holds file names.
    """
    for column in columns:
        if column in _FILE_COLUMNS:
            raise UsageError(f"text column {column!r}: this column names files")


def row_item(
    manifest: str,
    name: str,
    row: Row,
    text_columns: Sequence[str],
    value: Callable[[object], object],
) -> Item:
    """Make the item that a row describes.

    Args:
        manifest: Absolute path of the manifest; its folder is where file names start.
        name: The row's own id or its number.
        row: The row.
        text_columns: Further columns that are text parts.
        value: What a metadata cell means: ``json_value`` or ``csv_value``.

    Raises:
        RowError: The row has no part, or a value that cannot be used.
    """
    roles = dict.fromkeys((*PART_COLUMNS, *text_columns))
    present = (role for role in roles if role in row)
    parts = tuple(part for role in present for part in _parts(role, row[role], manifest))
    if not parts:
        raise RowError(f"no picture, sound or text in any of the columns {', '.join(roles)}")
    return Item(manifest, parts, name, row_columns(row, roles, value))


def row_columns(
    row: Row, taken: Container[str], value: Callable[[object], object]
) -> Mapping[str, ColumnValue]:
    """The metadata of a row.

    Args:
        row: The row.
        taken: Columns that have become parts. A title stays all the same: it names the item in
            lists.
        value: What a cell means.

    Raises:
        RowError: A value cannot be used.
    """
    return MappingProxyType(
        {
            clean(column, "a column name"): _column(column, value(cell))
            for column, cell in row.items()
            if column != "id" and (column == "title" or column not in taken)
        }
    )


def row_id(row: Row, column: str = "id") -> str | None:
    """The name that a row gives itself in a column, as text; ``None`` if it has none.

    Raises:
        RowError: It is neither a text nor a whole number.
    """
    value = row.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():  # whole numbers beside missing ones
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"the {column} must be a text or a whole number")
    return clean(str(value), f"the {column}")


def _parts(role: str, value: object, manifest: str) -> Iterator[Part]:
    for cell in value if isinstance(value, list) else [value]:
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        if role in _FILE_COLUMNS:
            yield from _file_parts(role, cell, manifest)
        else:
            yield Part(role, Modality.TEXT, text=_text(role, cell))


def file_path(role: str, cell: object, source: str) -> str:
    """The absolute path of a file that a row names, which starts at the folder of its source.

    Raises:
        RowError: No file can be called that.
    """
    if not isinstance(cell, str):
        raise RowError(f"column {role!r} must name a file")
    path = os.path.abspath(os.path.join(os.path.dirname(source), cell))
    try:
        valid = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise RowError(f"column {role!r}: '{one_line(cell)}' cannot be a file name")
    return path


def _file_parts(role: str, cell: object, manifest: str) -> Iterator[Part]:
    path = file_path(role, cell, manifest)
    modalities = _FILE_COLUMNS[role] or modalities_of(path)
    if not modalities:
        raise RowError(f"column {role!r}: the type of '{one_line(str(cell))}' is not indexed")
    if role == "video" and not is_video(path):
        raise RowError(f"column {role!r}: the type of '{one_line(str(cell))}' is no video's")
    for modality in modalities:
        yield Part(role, modality, path)


def _text(role: str, cell: object) -> str:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        raise RowError(f"column {role!r} must be a text or a list of texts")
    return clean(str(cell), f"column {role!r}")


def clean(text: str, what: str) -> str:
    """The text, if it is one: no NUL, and nothing that UTF-8 cannot hold."""
    if "\0" in text:
        raise RowError(f"{one_line(what)} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RowError(f"{one_line(what)} is not valid UTF-8") from None
    return text


def _column(column: str, value: object) -> ColumnValue:
    what = f"column {column!r}"
    if isinstance(value, list) and all(_is_scalar(cell) for cell in value):
        return tuple(_scalar(cell, what) for cell in value)
    if isinstance(value, list | dict):
        try:
            return clean(json.dumps(value, ensure_ascii=False, default=_in_json), what)
        except RecursionError:
            raise RowError(f"{one_line(what)} is nested too deeply") from None
    return _scalar(value, what)


def _in_json(value: object) -> str | None:
    """A value inside another one that JSON does not know: a date as text, bytes not at all."""
    return None if isinstance(value, bytes) else str(value)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _scalar(value: object, what: str) -> Scalar:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    return clean(str(value), what)


def json_value(cell: object) -> object:
    """A JSON value is what it says."""
    return cell


_FLOAT: Final = re.compile(r"-?(0|[1-9]\d*)\.\d+")
_EXACT_DIGITS: Final = 15  # a double holds every decimal number of 15 digits (IEEE 754)


def csv_value(cell: object) -> Scalar:
    """The number that a CSV cell is, if nothing gets lost on the way; else its text.

    ``007`` and ``1,5`` stay texts, ``7`` and ``3.10`` become numbers; an empty cell is ``None``.
    """
    text = str(cell)
    if not text:
        return None
    if len(text) > 25 or text[-1] not in "0123456789":
        return text
    try:
        if str(int(text)) == text:
            return int(text)
    except ValueError:
        pass
    exact = _FLOAT.fullmatch(text) and sum(char.isdigit() for char in text) <= _EXACT_DIGITS
    try:
        number = float(text)
    except ValueError:
        return text
    return number if exact or repr(number) == text else text
