"""From the id of a chunk to what it is: its item, its part, its stretch and its words."""

from dataclasses import dataclass

from mmsearch.errors import DamagedIndexError
from mmsearch.records import Chunk, Item, Modality, Part
from mmsearch.store.metadata import CHUNK_BITS, StoredItem
from mmsearch.store.reader import View


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """One chunk that has a vector.

    Attributes:
        item: The item.
        part: The part that the chunk is a stretch of.
        chunk: The stretch.
        text: The passage, for a text part.
    """

    item: Item
    part: Part
    chunk: Chunk
    text: str | None


def load_chunk(view: View, chunk_id: int) -> EmbeddedChunk:
    """Return what a live chunk is.

    Raises:
        DamagedIndexError: It has a vector but no record.
    """
    return chunk_of(view, stored_item(view, chunk_id), chunk_id)


def stored_item(view: View, chunk_id: int) -> StoredItem:
    """Return the item of a live chunk.

    Raises:
        DamagedIndexError: It has a vector but no record.
    """
    stored = view.snapshot.item(chunk_id >> CHUNK_BITS)
    if stored is None:
        raise DamagedIndexError(
            f"{view.folder}: item {chunk_id >> CHUNK_BITS} has vectors but no record; "
            "run `mmsearch repair`"
        )
    return stored


def chunk_of(view: View, stored: StoredItem, chunk_id: int) -> EmbeddedChunk:
    """Return what a live chunk of an item is."""
    part, chunk = stored.locate(chunk_id)
    is_passage = part.modality is Modality.TEXT and part.text is None
    stored_text = view.snapshot.passage(chunk_id) if is_passage else None
    text = passage_text(part, chunk, stored_text)
    return EmbeddedChunk(stored.item, part, chunk, text)


def passage_text(part: Part, chunk: Chunk, stored: str | None) -> str | None:
    """Return the text of a text chunk: from the part itself, or as it was read from its file."""
    if part.text is None:
        return stored
    if chunk.start is None or chunk.end is None:
        return part.text
    return part.text[int(chunk.start) : int(chunk.end)]
