"""Writing an index: everything between two commits becomes visible at once, or never."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError, IndexNotFoundError, UsageError
from mmsearch.records import Chunk, FieldName, Item
from mmsearch.store.batches import batches
from mmsearch.store.catalog import CatalogItem
from mmsearch.store.catalog_writer import CatalogWriter
from mmsearch.store.codes import write_codes
from mmsearch.store.environment import Environment, acquire
from mmsearch.store.field import load_codebook
from mmsearch.store.files import FileInfo
from mmsearch.store.guard import refuse_damaged, seal, unseal
from mmsearch.store.layout import CATALOG, catalog_item, remove_unnamed
from mmsearch.store.lock import WriterLock
from mmsearch.store.manifest import FORMAT, FieldInfo, Manifest, ScorerInfo, SegmentInfo
from mmsearch.store.merge import merge_tail
from mmsearch.store.metadata import (
    CHUNK_BITS,
    Adopted,
    Snapshot,
    StoredFailure,
    StoredItem,
    Update,
)
from mmsearch.store.nearness import write_nearness
from mmsearch.store.segment import write_segment
from mmsearch.store.spare import sound_spare, write_spare
from mmsearch.store.staging import is_swapped, remove_staging

if TYPE_CHECKING:
    import torch

Float16Array = NDArray[np.float16]
_BLOCK = 8192
"""Items whose vectors are hashed, encoded and written at a time."""
_RECORDS = 10_000
"""Items whose records are put at a time, where a commit holds all there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item that is ready to be stored.

    Attributes:
        item: The item, without an id.
        chunks: For each part the stretches that were embedded.
        vectors: For each field (n, dim) float16, a row for each chunk of its modality.
        passages: The texts of the chunks of text files, by chunk ordinal.
        fingerprint: See :class:`StoredItem`.
        contents: See :class:`StoredItem`.
        replaces: Items that this one takes the place of.
    """

    item: Item
    chunks: tuple[tuple[Chunk, ...], ...]
    vectors: Mapping[FieldName, Float16Array]
    passages: Mapping[int, str]
    fingerprint: str
    contents: str
    replaces: tuple[int, ...] = ()


@dataclass(slots=True)
class Batch:
    """What the next commit holds."""

    entries: list[Entry] = field(default_factory=list)
    touched: list[StoredItem] = field(default_factory=list)
    failures: list[tuple[bytes, StoredFailure]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        things = (self.entries, self.touched, self.failures, self.removed, self.forgotten)
        return any(things)


class Writer:
    """The one writer of an index, from construction to :meth:`close`."""

    def __init__(
        self,
        folder: Path,
        initial: Manifest | None = None,
        lock: WriterLock | None = None,
        device: "torch.device | None" = None,
    ) -> None:
        """Take the writer lock, and clear away what a dead writer left.

        Args:
            folder: The index folder; it exists.
            initial: The manifest of a new index.
            lock: The writer lock, if the caller holds it already; the caller releases it.
            device: What trains lists and gives rows to them, if not FAISS.

        Raises:
            IndexLockedError: Another writer is at work.
            IndexNotFoundError: There is no index, and none is to be made.
            UsageError: There is an index, and one is to be made.
            DamagedIndexError: The records or the catalog are not what was written.
        """
        self.folder = folder
        self.device = device
        self._lock = None if lock else WriterLock(folder)
        self._dead: list[int] = []  # items that the next commit clears from the catalog
        with ExitStack() as opened:
            opened.callback(self._unlock)
            self.environment: Environment = acquire(folder)
            opened.callback(self.environment.release)
            manifest = self._read_manifest()
            if manifest is not None and initial is not None:
                raise UsageError(f"{folder}: another process has just made it; open it")
            if manifest is None and initial is None:
                raise IndexNotFoundError(f"{folder}: an empty index; make it anew")
            if manifest is None and sound_spare(folder) is not None:
                raise DamagedIndexError(f"{folder}: its records are gone; run `mmsearch repair`")
            refuse_damaged(folder, limit_bytes=None)
            # Before the first commit, so that no crash leaves an index without a catalog.
            self.catalog = CatalogWriter(folder / CATALOG)
            opened.callback(self.catalog.close)
            unseal(folder)
            opened.callback(seal, folder)
            self.manifest = manifest or self._commit_initial(initial)
            self._renew_format()
            self._conclude()
            self._reconcile_catalog()
            self._dead = self._tombstones()
            self._finish_swap()
            opened.pop_all()

    def _read_manifest(self) -> Manifest | None:
        with self.environment.read() as transaction:
            return Snapshot(self.environment, transaction).manifest()

    def _commit_initial(self, manifest: Manifest | None) -> Manifest:
        assert manifest is not None
        self.environment.write(lambda txn: self._update(txn).put_manifest(manifest))
        return manifest

    def _renew_format(self) -> None:
        """Commit a manifest of an older format as it is read now, before files that it named go."""
        with self.environment.read() as transaction:
            is_old = Snapshot(self.environment, transaction).format() < FORMAT
        if is_old:
            self._recommit(self.manifest, np.empty(0, np.int64))

    def _conclude(self) -> None:
        """After a commit: renew the manifest's copy, then let go of what it does not name."""
        if sound_spare(self.folder) != self.manifest:
            write_spare(self.folder, self.manifest)
        remove_unnamed(self.folder, self.manifest)

    def _finish_swap(self) -> None:
        """Go on where a process was killed that had just moved the index to another model."""
        if is_swapped(self.folder, self.manifest):
            self.replace_fields((), cleared=np.array(self._dead, np.int64))
            remove_staging(self.folder)

    def _reconcile_catalog(self) -> None:
        """Undo what a writer that died between catalog and LMDB left; rebuild what lags."""
        commit = self.manifest.commit
        if self.catalog.stamp < commit:
            self.rebuild_catalog()
        elif self.catalog.stamp > commit:
            self.catalog.prune(self.manifest.next_item_id, commit)

    def rebuild_catalog(self) -> None:
        """Make the lexical and column index anew from LMDB; readers that have it open go on."""
        with self.environment.read() as transaction:
            snapshot = Snapshot(self.environment, transaction)
            items = (catalog_item(stored, snapshot.passage) for stored in snapshot.items())
            self.catalog.rebuild(items, stamp=self.manifest.commit)

    def commit(self, batch: Batch) -> None:
        """Make a batch part of the index, durably and as a whole."""
        self._reconcile_catalog()  # a commit that failed may have left its rows
        manifest = replace(self.manifest, commit=self.manifest.commit + 1)
        first_id = manifest.next_item_id
        stored = [_stored(entry, first_id + n) for n, entry in enumerate(batch.entries)]
        manifest = replace(manifest, next_item_id=first_id + len(stored))
        rows = (_catalog_item(s, e) for s, e in zip(stored, batch.entries, strict=True))
        with ThreadPoolExecutor(1, thread_name_prefix="mmsearch-catalog") as beside:
            cataloged = beside.submit(self.catalog.write, rows, self._dead, manifest.commit)
            manifest = self._write_segments(manifest, stored, batch.entries)

            def work(transaction: "lmdb.Transaction[bytes]") -> Manifest:
                applied = _apply(self._update(transaction), manifest, stored, batch)
                cataloged.result()  # the catalog never lags behind LMDB: its rows are durable first
                return applied

            self.manifest = self.environment.write(work)
        self._dead = [*batch.removed, *(i for entry in batch.entries for i in entry.replaces)]
        self._conclude()

    def rename_model(self, name: str) -> None:
        """Commit another name of the model, whose spaces are the same."""
        self._recommit(replace(self.manifest, model=name), np.empty(0, np.int64))

    def replace_fields(self, fields: Iterable[FieldInfo], cleared: NDArray[np.int64]) -> None:
        """Commit rewritten fields; the tombstones of ``cleared`` items have no vectors left."""
        by_name = {f.name: f for f in self.manifest.fields} | {f.name: f for f in fields}
        self._recommit(replace(self.manifest, fields=tuple(by_name.values())), cleared)

    def replace_scorers(self, scorers: Iterable[ScorerInfo]) -> None:
        """Commit other fusion scorers."""
        self._recommit(replace(self.manifest, scorers=tuple(scorers)), np.empty(0, np.int64))

    def _recommit(self, changed: Manifest, cleared: NDArray[np.int64]) -> None:
        """Commit a changed manifest over the same items."""
        self._reconcile_catalog()
        manifest = replace(changed, commit=self.manifest.commit + 1)
        self.catalog.write((), dead=self._tombstones(), stamp=manifest.commit)
        self._dead = []

        def work(transaction: "lmdb.Transaction[bytes]") -> None:
            update = self._update(transaction)
            update.clear_tombstones(cleared)
            update.put_manifest(manifest)

        self.environment.write(work)
        self.manifest = manifest
        self._conclude()

    def replace_items(
        self, manifest: Manifest, items: Callable[[], Iterable[Adopted]]
    ) -> Sequence[int]:
        """Commit other items and another manifest in place of all there are.

        Args:
            manifest: It names vectors of the new items only.
            items: The new items with ids that have not been given out; called more than once.

        Returns:
            The ids of the old items: tombstones that have no vectors left.
        """
        self._reconcile_catalog()
        added = (catalog_item(item.stored, item.passages.get) for item in items())
        self.catalog.write(added, dead=self._tombstones(), stamp=manifest.commit)

        def work(transaction: "lmdb.Transaction[bytes]") -> list[int]:
            update = self._update(transaction)
            retired = update.retire_items()
            for some in batches(items(), _RECORDS):
                update.put_items(item.stored for item in some)
                for chunk_id, text in (pair for item in some for pair in item.passages.items()):
                    update.put_passage(chunk_id, text)
            update.put_manifest(manifest)
            return retired

        self._dead = self.environment.write(work)
        self.manifest = manifest
        self._conclude()
        return self._dead

    def new_name(self, kind: str) -> str:
        """Return a file name that no commit has used."""
        number = self.manifest.next_file
        self.manifest = replace(self.manifest, next_file=number + 1)
        return f"{number:08d}.{kind}"

    def _write_segments(
        self, manifest: Manifest, stored: Sequence[StoredItem], entries: Sequence[Entry]
    ) -> Manifest:
        for name in sorted({name for entry in entries for name in entry.vectors}):
            ids = [chunk for s in stored for chunk in s.chunk_ids(name.modality)]
            rows = [entry.vectors[name] for entry in entries if name in entry.vectors]
            info = manifest.field(name) or FieldInfo(name, rows[0].shape[1])
            blocks = [np.concatenate(some) for some in batches(rows, _BLOCK)]
            segment = self._write_segment(info, np.array(ids, np.int64), blocks)
            info = replace(info, segments=(*info.segments, segment))
            info = merge_tail(self.folder, info, self.new_name)
            others = tuple(f for f in manifest.fields if f.name != name)
            manifest = replace(manifest, fields=(*others, info))
        return replace(manifest, next_file=self.manifest.next_file)

    def _write_segment(
        self, info: FieldInfo, ids: NDArray[np.int64], blocks: Sequence[Float16Array]
    ) -> SegmentInfo:
        vectors = write_segment(self.folder, self.new_name("vectors"), ids, blocks)
        codes = self.write_codes(info.codebook, blocks) if info.codebook else None
        nearness = tuple(
            write_nearness(self.folder, self.new_name("nearness"), bank, blocks)
            for bank in info.banks
        )
        return SegmentInfo(vectors, codes, len(ids), int(ids[-1]), nearness)

    def write_codes(self, codebook: FileInfo, blocks: Iterable[Float16Array]) -> FileInfo:
        """Write what a codebook makes of a segment's vectors, (n, dim) float16 blocks."""
        index = load_codebook(self.folder, codebook)
        filler = index.lists_on(self.device) if self.device is not None else None
        codes = (index.encode(block.astype(np.float32), filler) for block in blocks)
        return write_codes(self.folder, self.new_name("codes"), index.nlist, codes)

    def _tombstones(self) -> list[int]:
        with self.environment.read() as transaction:
            return [int(i) for i in Snapshot(self.environment, transaction).tombstones()]

    def _update(self, transaction: "lmdb.Transaction[bytes]") -> Update:
        return Update(self.environment, transaction)

    def close(self) -> None:
        """Vouch for the files and release everything; what was not committed is removed."""
        with ExitStack() as closing:
            closing.callback(self._unlock)
            closing.callback(self.environment.release)
            closing.callback(seal, self.folder)
            closing.callback(remove_unnamed, self.folder, self.manifest)
            self.catalog.close()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _stored(entry: Entry, item_id: int) -> StoredItem:
    item = Item(entry.item.source, entry.item.parts, entry.item.row, entry.item.columns, item_id)
    return StoredItem(item, entry.chunks, entry.fingerprint, entry.contents)


def _catalog_item(stored: StoredItem, entry: Entry) -> CatalogItem:
    base = stored.id << CHUNK_BITS
    return catalog_item(stored, lambda chunk_id: entry.passages.get(chunk_id - base))


def _apply(
    update: Update, manifest: Manifest, stored: Sequence[StoredItem], batch: Batch
) -> Manifest:
    """Write the records of a commit; returns the manifest with the items counted."""
    gone = {i for entry in batch.entries for i in entry.replaces} | set(batch.removed)
    dead = 0
    for item_id in sorted(gone):
        if removed := update.item(item_id):
            update.remove_item(removed)
            dead += 1
    for key in batch.forgotten:
        update.forget_failure(key)
    for key, failure in batch.failures:
        update.put_failure(key, failure)
    # What was touched may have been moved or removed since, in this commit or an earlier one.
    touched = [item for item in batch.touched if update.item(item.id)]
    update.put_items((*touched, *stored))
    for item, entry in zip(stored, batch.entries, strict=True):
        for ordinal, text in entry.passages.items():
            update.put_passage((item.id << CHUNK_BITS) + ordinal, text)
    manifest = replace(manifest, items=manifest.items + len(stored) - dead)
    update.put_manifest(manifest)
    return manifest
