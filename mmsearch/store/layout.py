"""Which files are an index's own, and what the catalog is made of."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mmsearch.records import ColumnValue, Item, Modality
from mmsearch.store.catalog import CatalogItem
from mmsearch.store.manifest import Manifest
from mmsearch.store.metadata import StoredItem

CATALOG = "catalog.sqlite"
SCRATCH = "repair"
"""A folder in which a repair makes a new ``data.mdb``."""
_KINDS = (".vectors", ".codes", ".codebook", ".bank", ".nearness", ".scorer", ".tmp")


def remove_unnamed(folder: Path, manifest: Manifest) -> None:
    """Remove the files that no commit names; only a writer may call it."""
    named = manifest.files()
    for path in folder.iterdir():
        if path.suffix in _KINDS and path.name not in named:
            path.unlink()
    if (folder / SCRATCH).exists():
        shutil.rmtree(folder / SCRATCH)


def catalog_item(stored: StoredItem, passage: Callable[[int], str | None]) -> CatalogItem:
    """Return what the catalog holds of an item: its columns, its texts, its name.

    The name has the highest ordinal that a chunk id can have, which no chunk reaches; texts without
    a vector join it.

    Args:
        stored: The item.
        passage: Gives the text of a chunk of a text file, by chunk id.
    """
    pairs = zip(stored.item.parts, stored.chunks, strict=True)
    silent = [part.text for part, chunks in pairs if part.text and not chunks]
    texts = [(stored.name_id, "\n".join([stored.item.name, *silent]))]
    for chunk_id, part, chunk in stored.placed():
        if part.modality is not Modality.TEXT:
            continue
        text = part.text[_span(chunk.start, chunk.end)] if part.text else passage(chunk_id)
        if text:
            texts.append((chunk_id, text))
    return CatalogItem(stored.id, _columns(stored.item), texts)


def _columns(item: Item) -> dict[str, ColumnValue]:
    """Return the item's columns, and ``path`` and ``id`` where it has none of that name."""
    path = os.fsencode(item.file).decode(errors="replace")  # SQLite takes no lone surrogates
    return {"path": path, "id": item.row, **item.columns}


def _span(start: float | None, end: float | None) -> slice:
    return slice(None if start is None else int(start), None if end is None else int(end))
