"""`Index.export`: the vectors of one field and what they stand for, as files for other programs.

A folder in the form of clip-retrieval, ``img_emb/img_emb_0.npy`` and
``metadata/metadata_0.parquet``, or one Parquet file; ``add_vectors`` reads both.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.chunks import chunk_of, stored_item
from mmsearch.errors import UsageError, one_line
from mmsearch.records import FieldName, Item, Modality
from mmsearch.sources.parquet import require_parquet
from mmsearch.sources.vectors import FOLDERS, METADATA, VECTOR_COLUMNS
from mmsearch.store.metadata import CHUNK_BITS, MAX_CHUNKS, StoredItem
from mmsearch.store.reader import View

if TYPE_CHECKING:
    from pyarrow import Schema

FIXED = ("id", "path", "caption", "chunk_start", "chunk_end")
"""Columns that every export has, before those of the items; an item's own of these names is not
written, nor one that would be taken for vectors."""


def export(view: View, target: str, modality: Modality | None, space: str | None) -> int:
    """Write a field; see ``Index.export``."""
    require_parquet()
    place = Path(target)
    if place.exists():
        raise UsageError(f"{one_line(target)}: is there already; name a new folder or file")
    if not place.parent.is_dir():
        raise UsageError(f"{one_line(target)}: there is no folder {one_line(str(place.parent))}")
    rows = _Rows(view, _field(view, modality, space))
    with TemporaryDirectory(prefix=".mmsearch-", dir=place.parent) as folder:
        whole = Path(folder) / "export"
        (_write_table if place.suffix.lower() == ".parquet" else _write_folder)(rows, whole)
        os.replace(whole, place)
    return rows.count


def _field(view: View, modality: Modality | None, space: str | None) -> FieldName:
    held = [name for name in sorted(view.state.fields) if view.alive(name).count]
    found = [n for n in held if modality in (None, n.modality) and space in (None, n.space)]
    if len(found) == 1:
        return found[0]
    holds = ", ".join(map(str, held)) or "nothing yet"
    which = "no such vectors" if not found else "several kinds of vectors: name one modality"
    raise UsageError(f"{view.folder}: {which} (it holds {holds})")


class _Rows:
    """The rows of an export, in the order of the field.

    Attributes:
        modality: Of the vectors.
        dim: Of the vectors.
        count: How many there are.
        schema: Of the table: the fixed columns, then those of the items.
    """

    def __init__(self, view: View, name: FieldName) -> None:
        self._view, self._field, self._alive = view, view.state.fields[name], view.alive(name).mask
        self.modality, self.dim = name.modality, self._field.info.dim
        self.count = view.alive(name).count
        owners = self._field.owners[self._alive]
        self._parted = set(owners[1:][owners[1:] == owners[:-1]].tolist())
        self._columns, self._one_source = _survey(view)
        self.schema = _schema(self._columns)
        self._stored: StoredItem | None = None

    def blocks(self) -> Iterator[tuple[NDArray[np.float16], list[dict[str, Any]]]]:
        """Stream vectors, (n, dim), with their n rows of the table."""
        start = 0
        for ids, vectors in self._field.blocks():
            alive = self._alive[start : start + len(ids)]
            start += len(ids)
            yield vectors[alive], [self._row(int(chunk_id)) for chunk_id in ids[alive]]

    def _row(self, chunk_id: int) -> dict[str, Any]:
        if self._stored is None or self._stored.id != chunk_id >> CHUNK_BITS:
            self._stored = stored_item(self._view, chunk_id)
        item = self._stored.item
        found = chunk_of(self._view, self._stored, chunk_id)
        captions = (part.text for part in item.parts if part.text)
        caption = found.text or next(captions, None) or item.columns.get("caption")
        fixed = (
            _text(self._name(item, chunk_id)),
            _text(found.part.path),
            None if caption is None else str(caption),
            found.chunk.start,
            found.chunk.end,
        )
        columns = {n: _cell(item.columns.get(n), kind) for n, kind in self._columns.items()}
        return columns | dict(zip(FIXED, fixed, strict=True))

    def _name(self, item: Item, chunk_id: int) -> str:
        """The row of an item, where all come from one source; a number where it has several."""
        row = "" if item.row is None else item.row
        name = row if self._one_source else ":".join(filter(None, (item.source, row)))
        ordinal = chunk_id & (MAX_CHUNKS - 1)
        return f"{name}#{ordinal}" if item.id in self._parted else name


def _survey(view: View) -> tuple[dict[str, str], bool]:
    """The items' columns, with what each of them holds; and whether all are rows of one source."""
    kinds: dict[str, set[str]] = {}
    sources: set[str | None] = set()
    for stored in view.snapshot.items():
        for name, value in stored.item.columns.items():
            if value is not None and name not in (*FIXED, *VECTOR_COLUMNS):
                kinds.setdefault(name, set()).add(type(value).__name__)
        if len(sources) < 2:
            sources.add(None if stored.item.row is None else stored.item.source)
    whole = {"bool": {"bool"}, "int64": {"int"}, "float64": {"int", "float"}, "string": {"str"}}
    columns = {
        name: next((kind for kind, types in whole.items() if found <= types), "json")
        for name, found in sorted(kinds.items())
    }
    return columns, len(sources) == 1 and None not in sources


def _text(name: str | None) -> str | None:
    """A name as Parquet holds it: names of files need not be UTF-8."""
    return None if name is None else os.fsencode(name).decode(errors="replace")


def _cell(value: Any, kind: str) -> Any:
    return json.dumps(value) if kind == "json" and value is not None else value


def _schema(columns: dict[str, str]) -> "Schema":
    import pyarrow as pa

    types = {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64()}
    fixed = dict(zip(FIXED, ("string", "string", "string", "float64", "float64"), strict=True))
    return pa.schema([(n, types.get(kind, pa.string())) for n, kind in (fixed | columns).items()])


def _write_folder(rows: _Rows, folder: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kind = FOLDERS[rows.modality]
    for name in (kind, METADATA):
        (folder / name).mkdir(parents=True)
    array = np.lib.format.open_memmap(
        folder / kind / f"{kind}_0.npy", "w+", np.float16, (rows.count, rows.dim)
    )
    start = 0
    with ParquetWriter(folder / METADATA / f"{METADATA}_0.parquet", rows.schema) as writer:
        for vectors, table in rows.blocks():
            array[start : start + len(vectors)] = vectors
            start += len(vectors)
            writer.write_table(pa.Table.from_pylist(table, rows.schema))
    array.flush()


def _write_table(rows: _Rows, path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    field = pa.field(VECTOR_COLUMNS[0], pa.list_(pa.float16(), rows.dim))
    schema = rows.schema.append(field)
    with ParquetWriter(path, schema) as writer:
        for vectors, table in rows.blocks():
            flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float16())
            column = pa.FixedSizeListArray.from_arrays(flat, rows.dim)
            plain = pa.Table.from_pylist(table, rows.schema)
            writer.write_table(plain.append_column(field, column))
