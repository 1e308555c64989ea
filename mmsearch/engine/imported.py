"""Rows of other programs' embeddings as entries of an index: checked, named, cut to size."""

import hashlib
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode import Model
from mmsearch.errors import UsageError
from mmsearch.records import Chunk, FieldName, Item, Modality, Part, Space
from mmsearch.sources.rows import Row, RowError, clean, file_path, json_value, row_columns, row_id
from mmsearch.sources.vectors import Vectors
from mmsearch.store.writer import Entry

OFF_UNIT = 0.01
"""A longer or shorter row than this is brought to unit length; float16 is off by 0.0005 at most."""

_PATHS = {
    Modality.IMAGE: ("image_path", "image", "path", "file"),
    Modality.AUDIO: ("audio_path", "audio", "path", "file"),
}
_CAPTIONS = ("caption", "text")
_KEY = "key"
_SPAN = ("chunk_start", "chunk_end")
"""Columns with a meaning: clip-retrieval's and img2dataset's, and those of manifests."""

_WHOLE = Chunk()
_LONGEST_S = 86_400_000.0


class Block:
    """Some rows with their vectors, checked and of the length that the index wants."""

    def __init__(
        self,
        source: str,
        mark: str,
        file: str,
        vectors: Vectors,
        rows: Sequence[Row],
        model: Model,
    ) -> None:
        self.source, self.mark, self.file, self.rows = source, mark, file, rows
        self._vectors: dict[Modality, NDArray[np.float16]] = {}
        self._flaws: dict[Modality, NDArray[np.bool_]] = {}
        self._names: dict[Modality, FieldName] = {}
        for modality, given in vectors.items():
            name, space = _place(model, modality, file)
            _check(given, space, file)
            self._names[modality] = name
            self._vectors[modality], self._flaws[modality] = _sound(given, space)

    def entry(self, at: int, name: str) -> Entry:
        """A row as an item.

        Raises:
            RowError: Its vector or its columns cannot be used.
        """
        row = self.rows[at]
        for modality, flaws in self._flaws.items():
            if flaws[at]:
                raise RowError(f"its {modality} vector is zero, or holds what is no number")
        parts, taken = self._parts(row)
        item = Item(self.source, tuple(parts), name, row_columns(row, taken, json_value))
        chunks = tuple(
            (_chunk(part, row),) if part.modality in self._vectors else () for part in parts
        )
        held = {part.modality for part in parts}
        vectors = {
            self._names[modality]: rows[at : at + 1]
            for modality, rows in self._vectors.items()
            if modality in held
        }
        return Entry(item, chunks, vectors, {}, self.mark, self._contents(at, item))

    def _parts(self, row: Row) -> tuple[list[Part], list[str]]:
        """The parts of a row, and the columns that they are made of."""
        parts, taken = [], [*_SPAN, *([] if row_id(row) else [_KEY])]
        for modality in self._vectors:
            if modality is not Modality.TEXT:
                column, path = _first_text(row, _PATHS[modality])
                taken += [column] if column else []
                # a row that names no file is shown by the file it stands in
                path = file_path(column, path, self.source) if path else self.file
                parts.append(Part(modality, modality, path=path))
        column, caption = _first_text(row, _CAPTIONS)
        if caption:
            parts.append(Part(column, Modality.TEXT, text=clean(caption, f"column {column!r}")))
            taken.append(column)
        if not parts:
            raise RowError("a text vector without its text: it needs a column caption or text")
        return parts, taken

    def _contents(self, at: int, item: Item) -> str:
        digest = hashlib.sha256()
        for modality, rows in self._vectors.items():
            digest.update(modality.encode() + rows[at].tobytes())
        for part in item.parts:
            digest.update((part.text or part.path or "").encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _place(model: Model, modality: Modality, file: str) -> tuple[FieldName, Space]:
    """The field that vectors of a modality belong to."""
    names = model.fields(modality)
    if not names:
        raise UsageError(f"{file}: model {model.name!r} has no vectors for {modality}")
    if len(names) > 1:
        spaces = " and ".join(name.space for name in names)
        raise UsageError(
            f"{file}: each {modality} has vectors in {spaces} here, and these are of one space; "
            "make an index with the model that they are of"
        )
    return names[0], model.encoder(names[0]).space


def _check(given: NDArray[np.generic], space: Space, file: str) -> None:
    if given.shape[1] != space.dim:
        raise UsageError(f"{file}: {given.shape[1]} dimensions; {space} has {space.dim}")
    if not np.issubdtype(given.dtype, np.floating):
        raise UsageError(f"{file}: numbers of type {given.dtype}; vectors are float16, 32 or 64")


def _sound(
    given: NDArray[np.generic], space: Space
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Vectors as they are stored, and which of them cannot be used."""
    with np.errstate(all="ignore"):
        rows = np.array(given, np.float32)  # no memory map any more: slices of one are slow
        lengths = np.linalg.norm(rows, axis=1)
        flaws = ~np.isfinite(lengths) | (lengths == 0)
        off = (np.abs(lengths - 1) > OFF_UNIT) & ~flaws & space.normalized
        rows[off] /= lengths[off, None]
        found = rows.astype(np.float16)
    return found, flaws | ~np.isfinite(found).all(axis=1)


def _chunk(part: Part, row: Row) -> Chunk:
    """The stretch that a vector stands for: a whole text, or the seconds that the row names."""
    if part.text:
        return Chunk(0, len(part.text))
    start, end = row.get(_SPAN[0]), row.get(_SPAN[1])
    if start is None:
        return _WHOLE
    if not (_is_time(start) and (end is None or (_is_time(end) and end >= start))):
        raise RowError("chunk_start and chunk_end are seconds")
    return Chunk(start, end)


def _is_time(value: object) -> TypeGuard[float]:
    """Whether a value is a time in a file: no film lasts a thousand days."""
    return isinstance(value, int | float) and 0 <= value < _LONGEST_S


def _first_text(row: Row, columns: Sequence[str]) -> tuple[str, str]:
    """The first column that holds words, and its words; nothing where there is none."""
    for name in columns:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return name, value
    return "", ""


def own_name(row: Row) -> str | None:
    """The name that a row gives itself, if any."""
    return row_id(row) or row_id(row, _KEY)
