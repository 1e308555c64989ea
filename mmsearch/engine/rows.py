"""Rows of a manifest that ask."""

from mmsearch.engine.query import Query
from mmsearch.records import Item, Modality
from mmsearch.sources.rows import RowError


def row_query(row: Item, templates: tuple[str, ...]) -> Query:
    """Return what the parts of a row ask for together.

    Raises:
        RowError: Two of them are of one modality, or one is a file of text.
    """
    asked: dict[Modality, str] = {}
    for part in row.parts:
        if part.modality in asked:
            raise RowError(f"asks with two {part.modality} parts; give each a row of its own")
        if part.modality is Modality.TEXT and part.text is None:
            raise RowError("asks with a text file; put its words into the column 'text'")
        asked[part.modality] = part.text or part.path or ""
    text, image, audio = (asked.get(modality) for modality in Modality)
    return Query(text, image, audio, templates)
