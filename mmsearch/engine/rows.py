"""Rows of a manifest that ask."""

from mmsearch.engine.query import Query
from mmsearch.records import Item, Modality
from mmsearch.sources.rows import RowError

EXCLUDE = "exclude"
"""The column of a text that is not wanted, or of several."""


def row_query(row: Item, templates: tuple[str, ...]) -> Query:
    """Return what the parts of a row ask for together.

    Raises:
        RowError: It asks with several texts, or with a file of text.
    """
    asked: dict[Modality, list[str]] = {modality: [] for modality in Modality}
    for part in row.parts:
        if part.modality is Modality.TEXT and part.text is None:
            raise RowError("asks with a text file; put its words into the column 'text'")
        asked[part.modality].append(part.text or part.path or "")
    texts, images, sounds = (asked[m] for m in (Modality.TEXT, Modality.IMAGE, Modality.AUDIO))
    if len(texts) > 1:
        raise RowError("asks with several texts; give each a row of its own")
    text = texts[0] if texts else None
    return Query(text, _several(images), _several(sounds), templates, exclude=_unwanted(row))


def _several(files: list[str]) -> str | list[str] | None:
    """One file by itself, several as they are."""
    return files[0] if len(files) == 1 else files or None


def _unwanted(row: Item) -> tuple[str, ...]:
    cell = row.columns.get(EXCLUDE)
    texts = cell if isinstance(cell, tuple) else (cell,)
    return tuple(str(text) for text in texts if text is not None and str(text).strip())
