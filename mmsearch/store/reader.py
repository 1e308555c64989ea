"""Reading an index: each view is one commit, whatever writers do meanwhile."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError, IndexNotFoundError, UsageError
from mmsearch.records import FieldName, FloatArray
from mmsearch.store.catalog import Catalog
from mmsearch.store.environment import Environment, acquire
from mmsearch.store.field import Field
from mmsearch.store.guard import DATA
from mmsearch.store.layout import CATALOG
from mmsearch.store.manifest import Manifest
from mmsearch.store.metadata import Snapshot
from mmsearch.store.scorers import StoredScorer
from mmsearch.store.selection import Selection
from mmsearch.store.spare import SPARE

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
BACKGROUND_ROWS = 500
_ATTEMPTS = 10


class Background(NamedTuple):
    """What a field holds, by a sample.

    Attributes:
        rows: (n,) int64, ascending.
        vectors: Theirs, (n, dim) float32.
    """

    rows: NDArray[np.int64]
    vectors: FloatArray


class State:
    """The opened files of one commit; immutable, shared by the views of all threads."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        transaction_id: int,
        previous: "State | None",
        device: "torch.device | None",
        map_codes: bool,
    ) -> None:
        self.manifest = manifest
        self.transaction_id = transaction_id
        self._dead: NDArray[np.int64] | None = None
        before = previous.fields if previous else {}
        self.fields: dict[FieldName, Field] = {
            info.name: Field(folder, info, before.get(info.name), device, map_codes=map_codes)
            if info.name not in before or before[info.name].info != info
            else before[info.name]
            for info in manifest.fields
        }
        self.scorers = {info.name: StoredScorer(folder, info) for info in manifest.scorers}
        self._alive: dict[FieldName, Selection] = {}
        self._holders: dict[frozenset[FieldName], NDArray[np.bool_]] = {}
        self._speaking: dict[tuple[FieldName, frozenset[FieldName]], Selection] = {}
        self._live_items: NDArray[np.bool_] | None = None
        self._backgrounds: dict[FieldName, Background] = {}
        self._made: dict[object, Any] = {}

    def dead(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """Return the deleted items; read when first asked for, because adding never asks."""
        if self._dead is None:
            self._dead = snapshot.tombstones()
        return self._dead

    def live_items(self, snapshot: Snapshot) -> NDArray[np.bool_]:
        """Return for each item id below ``next_item_id`` whether it is alive."""
        if self._live_items is None:
            alive = np.ones(self.manifest.next_item_id, dtype=bool)
            alive[self.dead(snapshot)] = False
            self._live_items = alive
        return self._live_items

    def alive(self, name: FieldName, snapshot: Snapshot) -> Selection:
        """Return the rows of a field that belong to live items."""
        if name not in self._alive:
            self._alive[name] = Selection(self.live_items(snapshot)[self.fields[name].owners])
        return self._alive[name]

    def holders(self, names: frozenset[FieldName]) -> NDArray[np.bool_]:
        """Return for each item id below ``next_item_id`` whether it has vectors in some fields."""
        if names not in self._holders:
            holders = np.zeros(self.manifest.next_item_id, dtype=bool)
            for name in names:
                holders[self.fields[name].owners] = True
            self._holders[names] = holders
        return self._holders[names]

    def speaking(
        self, name: FieldName, names: frozenset[FieldName], snapshot: Snapshot
    ) -> Selection:
        """Return the rows of a field that belong to live items with vectors in other fields."""
        if (name, names) not in self._speaking:
            items = self.live_items(snapshot) & self.holders(names)
            self._speaking[name, names] = Selection(items[self.fields[name].owners])
        return self._speaking[name, names]

    def background(self, name: FieldName, snapshot: Snapshot) -> Background:
        """Return up to ``BACKGROUND_ROWS`` evenly spaced live vectors."""
        if name not in self._backgrounds:
            rows = np.flatnonzero(self.alive(name, snapshot).mask)
            count = min(len(rows), BACKGROUND_ROWS)
            chosen = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
            self._backgrounds[name] = Background(chosen, self.fields[name].gather(chosen))
        return self._backgrounds[name]

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Return what was made under a key for this commit: a place for what others derive."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made


@dataclass(frozen=True)
class View:
    """One commit: records through an LMDB transaction, vectors through opened files."""

    snapshot: Snapshot
    state: State
    folder: Path

    @property
    def manifest(self) -> Manifest:
        """The manifest of the commit."""
        return self.state.manifest

    @property
    def live_items(self) -> NDArray[np.bool_]:
        """For each item id below ``next_item_id`` whether it is alive."""
        return self.state.live_items(self.snapshot)

    def alive(self, name: FieldName) -> Selection:
        """Return the rows of a field that belong to live items."""
        return self.state.alive(name, self.snapshot)

    def holders(self, names: frozenset[FieldName]) -> NDArray[np.bool_]:
        """For each item id below ``next_item_id`` whether it has vectors in some fields."""
        return self.state.holders(names)

    def speaking(self, name: FieldName, names: frozenset[FieldName]) -> Selection:
        """Return the rows of a field that belong to live items with vectors in other fields."""
        return self.state.speaking(name, names, self.snapshot)

    def background(self, name: FieldName) -> Background:
        """Return up to ``BACKGROUND_ROWS`` evenly spaced live vectors."""
        return self.state.background(name, self.snapshot)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Return what was made under a key for this commit: a place for what others derive."""
        return self.state.once(key, make)


class Reader:
    """Opens an index for reading; thread-safe."""

    def __init__(
        self, folder: Path, device: "torch.device | None" = None, *, map_codes: bool = False
    ) -> None:
        """Open the index.

        Args:
            folder: Its folder.
            device: Where searches compute, for fields that have room there.
            map_codes: Whether codes are searched in their files, not in memory.

        Raises:
            IndexNotFoundError: There is none.
            DamagedIndexError: LMDB's file is damaged.
        """
        if not (folder / DATA).is_file():
            if (folder / SPARE).is_file():
                raise DamagedIndexError(f"{folder / DATA}: missing; run `mmsearch repair`")
            raise IndexNotFoundError(
                f"{folder}: there is no index here; make one with `mmsearch index PATH`"
            )
        self.folder = folder
        self._device = device
        self._map_codes = map_codes
        self.environment: Environment = acquire(folder)
        self._lock = threading.Lock()
        self._state: State | None = None
        self._catalog_path = folder / CATALOG
        self._catalogs: dict[int | None, Catalog] = {}  # a replaced one may still be in use
        self._closed = False

    @property
    def catalog(self) -> Catalog:
        """The lexical and column index, opened again when a repair has made it anew."""
        try:
            inode = os.stat(self._catalog_path).st_ino
        except FileNotFoundError:
            inode = None
        with self._lock:
            if inode not in self._catalogs:
                self._catalogs[inode] = Catalog(self._catalog_path)
            return self._catalogs[inode]

    @contextmanager
    def view(self) -> Iterator[View]:
        """Look at the newest commit.

        Raises:
            UsageError: The index has been closed.
            DamagedIndexError: A file or record is missing or not what was written.
        """
        if self._closed:
            raise UsageError(f"{self.folder}: this index is closed; open it again")
        missing: tuple[int, FileNotFoundError] | None = None
        for _ in range(_ATTEMPTS):
            with self.environment.read() as transaction:
                snapshot = Snapshot(self.environment, transaction)
                known = self._state
                if known and known.transaction_id == transaction.id():
                    yield View(snapshot, known, self.folder)
                    return
                manifest = snapshot.manifest()
                if manifest is None:
                    raise IndexNotFoundError(f"{self.folder}: an empty index; make it anew")
                try:
                    state = self._state_of(manifest, transaction.id())
                except FileNotFoundError as error:
                    if missing and missing[0] == manifest.commit:
                        break  # the same commit names it still: nobody replaced it
                    missing = (manifest.commit, error)
                    continue
                del known  # what it has on a device need not stay for this search
                yield View(snapshot, state, self.folder)
                return
        assert missing is not None
        raise DamagedIndexError(f"{missing[1].filename}: missing; run `mmsearch repair`")

    def _state_of(self, manifest: Manifest, transaction_id: int) -> State:
        with self._lock:
            if self._state is None or self._state.transaction_id != transaction_id:
                self._state = State(
                    self.folder,
                    manifest,
                    transaction_id,
                    self._state,
                    self._device,
                    self._map_codes,
                )
            return self._state

    def close(self) -> None:
        """Release the environment and the catalog; closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._state = None
        for catalog in self._catalogs.values():
            catalog.close()
        self.environment.release()
