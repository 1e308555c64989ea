"""Do the records of an index name each other, and nothing else?"""

from collections.abc import Iterator, Sequence

from mmsearch.store.manifest import Manifest
from mmsearch.store.metadata import Snapshot, StoredItem


class RecordCheck:
    """Compares items with keys, contents and passages, a batch of items at a time.

    Every item is looked for in the other databases; equal counts then rule out anything more.
    """

    def __init__(self, snapshot: Snapshot, manifest: Manifest) -> None:
        self._snapshot = snapshot
        self._manifest = manifest
        self._items = 0
        self._passages = 0
        self._modalities = {field.name.modality for field in manifest.fields}

    def take(self, items: Sequence[StoredItem]) -> Iterator[str]:
        """Check the next items by id."""
        for stored in items:
            self._items += 1
            self._passages += len(stored.passage_ids())
            yield from (f"item {stored.id}: {what}" for what in self._problems(stored))

    def _problems(self, stored: StoredItem) -> Iterator[str]:
        if self._snapshot.item_id(stored.item.key) != stored.id:
            yield "its key leads elsewhere"
        if not self._snapshot.has_contents(stored):
            yield "it is not found by its contents"
        if any(self._snapshot.passage(i) is None for i in stored.passage_ids()):
            yield "its text is missing"
        if self._snapshot.is_dead(stored.id):
            yield "it is marked as deleted"
        if stored.id >= self._manifest.next_item_id:
            yield "its number has not been given out"
        chunked = {p.modality for p, c in zip(stored.item.parts, stored.chunks, strict=True) if c}
        if not chunked <= self._modalities:
            yield "there is no field for its vectors"

    def rest(self) -> Iterator[str]:
        """Check the counts, after the last item."""
        expected = {
            b"items": self._manifest.items,
            b"keys": self._items,
            b"contents": self._items,
            b"passages": self._passages,
        }
        for database, count in expected.items():
            held = self._snapshot.count(database)
            if held != count:
                yield f"{held} records of {database.decode()}, but {count} belong there"
