"""Finding damage: every byte of every file, and everything that must agree."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError, IndexNotFoundError, MMSearchError
from mmsearch.store.agreement import RecordCheck
from mmsearch.store.batches import batches
from mmsearch.store.catalog_check import check_catalog
from mmsearch.store.database import connect_reading, one_integer, translated
from mmsearch.store.environment import acquire
from mmsearch.store.guard import DATA
from mmsearch.store.guard import file_problems as data_problems
from mmsearch.store.layout import CATALOG, catalog_item
from mmsearch.store.lock import WriterLock
from mmsearch.store.manifest import Manifest
from mmsearch.store.metadata import Snapshot
from mmsearch.store.soundness import FieldState, RowCheck, file_problems, inspect_field
from mmsearch.store.spare import SPARE, read_spare, sound_spare

ITEMS = 2_000
"""Items are checked in batches of this many: rows are compared with NumPy."""
_MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what was written.

    Attributes:
        where: The file.
        what: What is wrong with it, or with a record in it.
    """

    where: str
    what: str


def verify_index(folder: Path) -> list[Damage]:
    """Check every file and record; damage is returned, never raised.

    Raises:
        IndexNotFoundError: There is no index.
        IndexLockedError: A writer is at work.
        IndexFormatError: A newer version wrote the index.
    """
    lock = lock_index(folder)
    try:
        return find_damage(folder)
    finally:
        lock.release()


def lock_index(folder: Path) -> WriterLock:
    """Take the writer lock of an index that is there, however damaged."""
    if not (folder / DATA).is_file() and sound_spare(folder) is None:
        raise IndexNotFoundError(f"{folder}: there is no index here")
    return WriterLock(folder)


def find_damage(folder: Path) -> list[Damage]:
    """Check everything; the caller holds the writer lock."""
    if problems := record_damage(folder):
        return problems  # nothing else can be judged without the records
    with opened(folder) as (snapshot, manifest):
        return [
            *_spare_damage(folder, manifest),
            *_field_damage(folder, snapshot, manifest),
            *scorer_damage(folder, manifest),
            *catalog_damage(folder, snapshot, manifest),
        ]


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Snapshot, Manifest]]:
    """Open the records of an index."""
    environment = acquire(folder)
    try:
        with environment.read() as transaction:
            snapshot = Snapshot(environment, transaction)
            manifest = snapshot.manifest()
            if manifest is None:
                raise DamagedIndexError(f"{folder / DATA}: there is no manifest")
            yield snapshot, manifest
    finally:
        environment.release()


def record_damage(folder: Path) -> list[Damage]:
    """Check LMDB's file, every record, and whether the records agree.

    A file whose pages are damaged is not given to LMDB: it might end the process.
    """
    problems = data_problems(folder)
    if not problems:
        try:
            with opened(folder) as (snapshot, manifest):
                problems = _record_problems(snapshot, manifest)
        except DamagedIndexError as error:
            problems = [str(error)]
    return [Damage(DATA, what) for what in problems[:_MAX_PROBLEMS]]


def _record_problems(snapshot: Snapshot, manifest: Manifest) -> list[str]:
    if problems := list(islice(snapshot.damaged_records(), _MAX_PROBLEMS)):
        return problems
    check = RecordCheck(snapshot, manifest)
    for items in batches(snapshot.items(), ITEMS):
        problems.extend(check.take(items))
    return [*problems, *check.rest()]


def _spare_damage(folder: Path, manifest: Manifest) -> Iterator[Damage]:
    """Check the manifest's copy: it may lag behind after a crash, or not be there yet."""
    try:
        spare = read_spare(folder)
    except (DamagedIndexError, OSError) as error:
        yield Damage(SPARE, str(error))
        return
    if spare and spare.commit > manifest.commit:
        yield Damage(DATA, f"an old copy: of commit {manifest.commit}, not {spare.commit}")
    elif spare and spare.commit == manifest.commit and spare != manifest:
        yield Damage(SPARE, "it is not what the records say")


def _field_damage(folder: Path, snapshot: Snapshot, manifest: Manifest) -> Iterator[Damage]:
    states = [inspect_field(folder, info) for info in manifest.fields]
    for state in states:
        problems = (*state.vectors, *state.codes, *state.nearness)
        yield from (Damage(name, what) for name, what in problems)
    sound = [state for state in states if not state.vectors]
    for state, wrong in check_rows(snapshot, sound):
        for item_id in wrong[:_MAX_PROBLEMS].tolist():
            what = "its vectors are not those of its chunks"
            yield Damage(str(state.info.name), f"item {item_id}: {what}")


def scorer_damage(folder: Path, manifest: Manifest) -> Iterator[Damage]:
    """Check the files of the fusion scorers."""
    for scorer in manifest.scorers:
        yield from (Damage(name, what) for name, what in file_problems(folder, scorer.file))


def check_rows(
    snapshot: Snapshot, states: Sequence[FieldState]
) -> Iterator[tuple[FieldState, NDArray[np.int64]]]:
    """Compare rows with items; yields whose are wrong: ids of items, or of none."""
    dead = snapshot.tombstones()
    checks = [(state, RowCheck(state, dead)) for state in states]
    for items in batches(snapshot.items(), ITEMS):
        for state, check in checks:
            if len(wrong := check.take(items)):
                yield state, wrong
    for state, check in checks:
        if len(wrong := check.rest()):
            yield state, wrong


def catalog_damage(folder: Path, snapshot: Snapshot, manifest: Manifest) -> Iterator[Damage]:
    """Compare the catalog with the records that it is derived from."""
    path = folder / CATALOG
    items = (catalog_item(stored, snapshot.passage) for stored in snapshot.items())
    try:
        stamp, uncommitted = _catalog_state(path, manifest.next_item_id)
        pending = {*snapshot.tombstones().tolist(), *uncommitted}
        if stamp not in (manifest.commit, manifest.commit + 1):  # one ahead after a crash
            yield Damage(CATALOG, f"it reflects commit {stamp}, not {manifest.commit}")
        yield from (Damage(CATALOG, what) for what in check_catalog(path, items, pending))
    except (MMSearchError, OSError) as error:
        yield Damage(CATALOG, str(error))


def _catalog_state(path: Path, next_item_id: int) -> tuple[int, list[int]]:
    """The commit that a catalog reflects, and its rows of items that were never committed."""
    with translated(path), closing(connect_reading(path)) as connection:
        stamp = one_integer(connection, "SELECT stamp FROM state")
        rows = connection.execute("SELECT id FROM item WHERE id >= ?", (next_item_id,))
        return stamp, [row[0] for row in rows]
