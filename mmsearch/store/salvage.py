"""Saving the records of a damaged LMDB file into a new one, which then takes its place.

Every record proves by its checksum what it is and in which database, so pages are read one by one
(:mod:`mmsearch.store.pages`), no matter whether the tree still leads to them. Left out are pages
that the file lists as free and that no tree leads to: they hold what earlier commits deleted.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from mmsearch.errors import DamagedIndexError, MMSearchError
from mmsearch.records import Modality
from mmsearch.store.batches import batches
from mmsearch.store.environment import Environment, acquire, is_open
from mmsearch.store.guard import DATA, LOCK, seal
from mmsearch.store.layout import SCRATCH
from mmsearch.store.manifest import Manifest
from mmsearch.store.metadata import CHUNK_BITS, Snapshot, StoredItem, Update, is_sound, manifest_of
from mmsearch.store.pages import PageFile
from mmsearch.store.spare import sound_spare
from mmsearch.whole import sync_folder

_SAVED = (b"items", b"passages", b"tombstones", b"failures")
"""What is not derived from other records."""
_META = b"meta"
_BATCH = 10_000


def rebuild_records(folder: Path) -> list[str]:
    """Replace ``data.mdb`` by a new one with every record that can be read and belongs together.

    The caller holds the writer lock. Killed at any moment, it leaves the old file or the new one.

    Returns:
        What was lost, a line each.

    Raises:
        DamagedIndexError: No manifest can be read, or a newer version wrote it.
        MMSearchError: This process has the index open.
    """
    if is_open(folder):
        raise MMSearchError(f"{folder}: close the index everywhere in this process, then repair")
    scratch = folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    environment = acquire(scratch)
    try:
        manifest = _copy_records(folder, environment)
        lines = _settle(environment, manifest)
    finally:
        environment.release()
    _take_place(scratch, folder)
    return lines


def _copy_records(folder: Path, environment: Environment) -> Manifest:
    """Copy what is sound; returns the newest manifest that can be believed."""
    spare = sound_spare(folder)
    if not (folder / DATA).exists():
        return _newest([], spare, folder)
    with PageFile(folder / DATA) as file:
        pages = _live_pages(file)
        manifests = _manifests(file, pages)
        if spare and not any(manifest.commit >= spare.commit for manifest in manifests):
            # These trees are older than the last commit, so they cannot tell which pages are free.
            pages, manifests = list(file.all_pages()), []
        records = _sound_records(file, pages)
        for batch in batches(records, _BATCH):
            environment.write(lambda txn, b=batch: _put_all(Update(environment, txn), b))  # type: ignore[misc]
    return _newest(manifests, spare, folder)


def _live_pages(file: PageFile) -> list[int]:
    """The pages of the last commit, if the file can tell; else all."""
    newest = file.newest
    if newest is None:
        return list(file.all_pages())
    reached = file.reachable(newest.main_root)
    free = file.free(newest.free_root)
    within = [number for number in file.all_pages() if number <= newest.last_page]
    return [number for number in within if number in reached or number not in free]


def _manifests(file: PageFile, pages: Iterable[int]) -> list[Manifest]:
    nodes = (node for number in pages for node in file.nodes(number))
    found = (n.value for n in nodes if n.key == b"manifest" and is_sound(_META, n.key, n.value))
    return [manifest_of(value) for value in found]


def _newest(found: list[Manifest], spare: Manifest | None, folder: Path) -> Manifest:
    candidates = [*found, *([spare] if spare else [])]
    if not candidates:
        raise DamagedIndexError(
            f"{folder}: beyond repair, neither its manifest nor the copy can be read; "
            "delete the folder and index the sources again"
        )
    return max(candidates, key=lambda manifest: manifest.commit)


def _sound_records(file: PageFile, pages: Iterable[int]) -> Iterator[tuple[bytes, bytes, bytes]]:
    for number in pages:
        for node in file.nodes(number):
            for database in _SAVED:
                if is_sound(database, node.key, node.value):
                    yield database, node.key, node.value


def _put_all(update: Update, records: Iterable[tuple[bytes, bytes, bytes]]) -> None:
    for database, key, sealed in records:
        update.put_sealed(database, key, sealed)


def _settle(environment: Environment, manifest: Manifest) -> list[str]:
    """Make the saved records agree with each other, and commit the manifest."""
    lines: list[str] = []
    with environment.read() as transaction:
        saved = Snapshot(environment, transaction)
        dead = set(saved.tombstones().tolist())
        for batch in batches(saved.items(), _BATCH):
            environment.write(
                lambda txn, b=batch: lines.extend(  # type: ignore[misc]
                    _settle_items(Update(environment, txn), b, dead, manifest.next_item_id)
                )
            )
    environment.write(lambda txn: _conclude(Update(environment, txn), manifest))
    lost = manifest.items - _count(environment)
    if lost > 0:
        lines.append(f"data.mdb: {lost} of {manifest.items} items are lost; index their sources")
    if lost < 0:
        lines.append(f"data.mdb: {-lost} removed items are back: their removal is lost")
    return lines


def _settle_items(
    update: Update, items: Iterable[StoredItem], dead: set[int], next_item_id: int
) -> Iterator[str]:
    """Derive keys and contents; of two versions of an item, ascending by id, the later one wins."""
    for stored in items:
        if stored.id in dead or stored.id >= next_item_id:
            update.remove_item(stored)
            continue
        if not _has_passages(update, stored):
            update.remove_item(stored)
            yield f"dropped {stored.item.name} ({stored.item.source}): its text is lost"
            continue
        earlier = update.item_id(stored.item.key)
        if earlier is not None and earlier != stored.id and (old := update.item(earlier)):
            update.remove_item(old)
        update.put_items([stored])


def _has_passages(snapshot: Snapshot, stored: StoredItem) -> bool:
    return all(snapshot.passage(chunk_id) is not None for chunk_id in stored.passage_ids())


def _conclude(update: Update, manifest: Manifest) -> None:
    def wanted(chunk_id: int) -> bool:
        owner = update.item(chunk_id >> CHUNK_BITS)
        return owner is not None and chunk_id in owner.chunk_ids(Modality.TEXT)

    update.drop_passages(wanted)
    update.put_manifest(replace(manifest, commit=manifest.commit + 1, items=update.count(b"items")))


def _count(environment: Environment) -> int:
    with environment.read() as transaction:
        return Snapshot(environment, transaction).count(b"items")


def _take_place(scratch: Path, folder: Path) -> None:
    """Put the new file in the place of the old one, durably.

    The lock file goes first: LMDB keeps the last transaction's number in it, which is another one
    in the new file. Readers that have the old file open keep both until they are closed. The old
    seal stays until the new file has its own: whoever reads in between is refused, not misled.
    """
    (folder / LOCK).unlink(missing_ok=True)
    sync_folder(scratch)
    (scratch / DATA).replace(folder / DATA)
    sync_folder(folder)
    seal(folder)
    shutil.rmtree(scratch)
