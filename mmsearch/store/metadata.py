"""Typed access to the LMDB records: every value carries a checksum over place, key and itself."""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import lmdb
import numpy as np
import xxhash
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError
from mmsearch.records import Chunk, ColumnValue, Failure, Item, Modality, Part
from mmsearch.store.environment import Environment
from mmsearch.store.manifest import Manifest, format_of

CHUNK_BITS = 20
"""A chunk's id is its item's id with the chunk's ordinal in the low bits."""
MAX_CHUNKS = 1 << CHUNK_BITS
"""An item has fewer: its last ordinal stands for its name."""
_ID = struct.Struct(">Q")
_MANIFEST = b"manifest"
_CHECKSUM_BYTES = 8
_TO_JSON = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes one at each call
_FROM_JSON = json.JSONDecoder().raw_decode  # json.loads looks for an encoding and for white space
_MODALITIES = {modality.value: modality for modality in Modality}  # calling the class is slow


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as LMDB holds it.

    Attributes:
        item: The item; its id is set.
        chunks: For each part the stretches that were embedded, in the order of the chunk ids.
        fingerprint: Hash of columns, parts and file times: equal when nothing was touched.
        contents: SHA-256 over the contents of the parts: equal when the vectors are.
    """

    item: Item
    chunks: tuple[tuple[Chunk, ...], ...]
    fingerprint: str
    contents: str

    @property
    def id(self) -> int:
        """The item's id."""
        assert self.item.id is not None
        return self.item.id

    @property
    def name_id(self) -> int:
        """The id under which the catalog keeps the item's name: no chunk's."""
        return (self.id << CHUNK_BITS) | (MAX_CHUNKS - 1)

    def placed(self) -> Iterator[tuple[int, Part, Chunk]]:
        """Return each chunk's id, ascending, its part and its stretch."""
        chunk_id = self.id << CHUNK_BITS
        for part, chunks in zip(self.item.parts, self.chunks, strict=True):
            for chunk in chunks:
                yield chunk_id, part, chunk
                chunk_id += 1

    def locate(self, chunk_id: int) -> tuple[Part, Chunk]:
        """Return the part and the stretch that a chunk id stands for."""
        ordinal = chunk_id & (MAX_CHUNKS - 1)
        for part, chunks in zip(self.item.parts, self.chunks, strict=True):
            if ordinal < len(chunks):
                return part, chunks[ordinal]
            ordinal -= len(chunks)
        raise DamagedIndexError(f"item {self.id} has no chunk {chunk_id}; run `mmsearch repair`")

    def chunk_ids(self, modality: Modality) -> list[int]:
        """Return the ids of the chunks of one modality, ascending."""
        return [chunk_id for chunk_id, part, _ in self.placed() if part.modality is modality]

    def passage_ids(self) -> list[int]:
        """Return the ids of the chunks whose texts are kept: those of text files."""
        return [i for i, part, _ in self.placed() if part.modality is Modality.TEXT and part.path]


@dataclass(frozen=True, slots=True)
class Adopted:
    """An item as an index takes it over from another one.

    Attributes:
        stored: The item, under its new id.
        passages: The texts of the chunks of text files, by chunk id.
    """

    stored: StoredItem
    passages: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """Something that failed, remembered so that it is retried only when it changes."""

    failure: Failure
    fingerprint: str


class Snapshot:
    """What one LMDB transaction sees."""

    def __init__(self, environment: Environment, transaction: "lmdb.Transaction[bytes]") -> None:
        self._databases = environment.databases
        self._transaction = transaction
        self._path = environment.path

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None in a folder that never was committed to.

        Raises:
            DamagedIndexError: LMDB's own idea of the newest commit is another one.
            IndexFormatError: A newer version wrote the index.
        """
        raw = self._get(b"meta", _MANIFEST)
        if raw is None:
            return None
        transaction_id, encoded = _ID.unpack_from(raw)[0], raw[_ID.size :]
        manifest = Manifest.from_json(encoded)
        if transaction_id != self._transaction.id():
            raise self._damaged(b"meta", _MANIFEST)
        return manifest

    def format(self) -> int:
        """Return the format of the manifest, which must be there."""
        raw = self._get(b"meta", _MANIFEST)
        assert raw is not None
        return format_of(raw[_ID.size :])

    def item_id(self, key: bytes) -> int | None:
        """Return the live item with that key."""
        raw = self._get(b"keys", key)
        if raw is None:
            return None
        if self._get(b"items", raw) is None:
            raise self._damaged(b"items", raw)
        return int(_ID.unpack(raw)[0])

    def item(self, item_id: int) -> StoredItem | None:
        """Return a live item."""
        raw = self._get(b"items", _ID.pack(item_id))
        return None if raw is None else _decode_item(item_id, raw)

    def items(self) -> Iterator[StoredItem]:
        """Return every live item, by id."""
        for key, raw in self._scan(b"items"):
            yield _decode_item(_ID.unpack(key)[0], raw)

    def items_from(self, prefixes: Iterable[str]) -> Iterator[StoredItem]:
        """Return the live items whose source begins so, by id; no other record is decoded."""
        beginnings = tuple(f'{{"source":{_TO_JSON(p)[:-1]}'.encode() for p in prefixes)
        with self._transaction.cursor(self._databases[b"items"]) as cursor:
            for key, sealed in cursor:
                if sealed.startswith(beginnings, _CHECKSUM_BYTES):
                    yield _decode_item(_ID.unpack(key)[0], self._unseal(b"items", key, sealed))

    def keys(self) -> Iterator[tuple[bytes, int]]:
        """Return every (key, item id), by key."""
        for key, raw in self._scan(b"keys"):
            yield key, _ID.unpack(raw)[0]

    def with_contents(self, contents: str) -> Iterator[int]:
        """Return the live items whose parts hold exactly these contents."""
        prefix = bytes.fromhex(contents)
        for key, _ in self._scan(b"contents", prefix):
            yield _ID.unpack(key[len(prefix) :])[0]

    def passage(self, chunk_id: int) -> str | None:
        """Return the text of a chunk of a text file."""
        raw = self._get(b"passages", _ID.pack(chunk_id))
        return None if raw is None else raw.decode()

    def failure(self, key: bytes) -> StoredFailure | None:
        """Return what is remembered of a failed item."""
        raw = self._get(b"failures", key)
        if raw is None:
            return None
        value = json.loads(raw)
        return StoredFailure(Failure(**value["failure"]), value["fingerprint"])

    def failures(self) -> Iterator[StoredFailure]:
        """Return everything that failed and has not changed since."""
        for _, raw in self._scan(b"failures"):
            value = json.loads(raw)
            yield StoredFailure(Failure(**value["failure"]), value["fingerprint"])

    def is_dead(self, item_id: int) -> bool:
        """Whether an item is marked as deleted."""
        return self._get(b"tombstones", _ID.pack(item_id)) is not None

    def tombstones(self) -> NDArray[np.int64]:
        """Return the ids of items that were deleted since the last compaction, ascending."""
        return np.fromiter((_ID.unpack(key)[0] for key, _ in self._scan(b"tombstones")), np.int64)

    def count(self, database: bytes) -> int:
        """Return how many records a database has."""
        return int(self._transaction.stat(self._databases[database])["entries"])

    def damaged_records(self) -> Iterator[str]:
        """Name every record whose checksum fails."""
        for database, handle in self._databases.items():
            with self._transaction.cursor(handle) as cursor:
                for key, sealed in cursor:
                    if not is_sound(database, key, sealed):
                        yield f"record {key.hex()} of {database.decode()}"

    def has_contents(self, stored: StoredItem) -> bool:
        """Whether an item is found by its contents."""
        key = bytes.fromhex(stored.contents) + _ID.pack(stored.id)
        return self._get(b"contents", key) is not None

    def _get(self, database: bytes, key: bytes) -> bytes | None:
        sealed = self._transaction.get(key, db=self._databases[database])
        return None if sealed is None else self._unseal(database, key, sealed)

    def _scan(self, database: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor(self._databases[database]) as cursor:
            if not cursor.set_range(prefix):
                return
            for key, sealed in cursor:
                if not key.startswith(prefix):
                    return
                yield key, self._unseal(database, key, sealed)

    def _unseal(self, database: bytes, key: bytes, sealed: bytes) -> bytes:
        if not is_sound(database, key, sealed):
            raise self._damaged(database, key)
        return sealed[_CHECKSUM_BYTES:]

    def _damaged(self, database: bytes, key: bytes) -> DamagedIndexError:
        return DamagedIndexError(
            f"{self._path / 'data.mdb'}: record {key.hex()} of {database.decode()} is damaged; "
            "run `mmsearch repair`"
        )


class Update(Snapshot):
    """A write transaction: what it puts is committed as a whole."""

    def put_manifest(self, manifest: Manifest) -> None:
        """Set the manifest, with the transaction that wrote it."""
        self._put(b"meta", _MANIFEST, _ID.pack(self._transaction.id()) + manifest.to_json())

    def put_items(self, items: Iterable[StoredItem]) -> None:
        """Add live items, or replace what is remembered of their fingerprints."""
        records, keys, contents = [], [], []
        for stored in items:
            item_id = _ID.pack(stored.id)
            records.append((item_id, _encode_item(stored)))
            keys.append((stored.item.key, item_id))
            contents.append((bytes.fromhex(stored.contents) + item_id, b""))
        self._put_many(b"items", records)
        self._put_many(b"keys", keys)
        self._put_many(b"contents", contents)
        if self.count(b"failures"):
            for key, _ in keys:
                self._delete(b"failures", key)

    def remove_item(self, stored: StoredItem) -> None:
        """Turn a live item into a tombstone."""
        item_id = _ID.pack(stored.id)
        if self.item_id(stored.item.key) == stored.id:
            self._delete(b"keys", stored.item.key)
        self._delete(b"items", item_id)
        self._delete(b"contents", bytes.fromhex(stored.contents) + item_id)
        for chunk_id in stored.passage_ids():
            self._delete(b"passages", _ID.pack(chunk_id))
        self._put(b"tombstones", item_id, b"")

    def retire_items(self) -> list[int]:
        """Turn every live item into a tombstone and drop all else but the manifest.

        Returns:
            The items' ids.
        """
        retired = [_ID.unpack(key)[0] for key, _ in self._scan(b"items")]
        for database, handle in self._databases.items():
            if database != b"meta":
                self._transaction.drop(handle, delete=False)
        for item_id in retired:
            self._put(b"tombstones", _ID.pack(item_id), b"")
        return retired

    def put_passage(self, chunk_id: int, text: str) -> None:
        """Keep the text of a chunk of a text file."""
        self._put(b"passages", _ID.pack(chunk_id), text.encode())

    def put_failure(self, key: bytes, stored: StoredFailure) -> None:
        """Remember that something failed."""
        self._put(b"failures", key, json.dumps(asdict(stored)).encode())

    def forget_failure(self, key: bytes) -> None:
        """Forget a failure."""
        self._delete(b"failures", key)

    def clear_tombstones(self, item_ids: NDArray[np.int64]) -> None:
        """Drop the tombstones of items whose vectors are gone."""
        for item_id in item_ids.tolist():
            self._delete(b"tombstones", _ID.pack(item_id))

    def put_sealed(self, database: bytes, key: bytes, sealed: bytes) -> None:
        """Take over a record as it was written, its checksum checked by the caller."""
        self._transaction.put(key, sealed, db=self._databases[database])

    def drop_passages(self, wanted: Callable[[int], bool]) -> int:
        """Remove the passages whose chunks nobody wants; returns how many."""
        dropped = 0
        with self._transaction.cursor(self._databases[b"passages"]) as cursor:
            found = cursor.first()
            while found:
                if wanted(_ID.unpack(cursor.key())[0]):
                    found = cursor.next()
                else:
                    found = cursor.delete() and bool(cursor.key())
                    dropped += 1
        return dropped

    def _put(self, database: bytes, key: bytes, value: bytes) -> None:
        self._transaction.put(
            key, _checksum(database, key, value) + value, db=self._databases[database]
        )

    def _put_many(self, database: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
        """Put records in the order of their keys: those of one page come together."""
        pairs.sort(key=itemgetter(0))
        with self._transaction.cursor(self._databases[database]) as cursor:
            cursor.putmulti((k, _checksum(database, k, value) + value) for k, value in pairs)

    def _delete(self, database: bytes, key: bytes) -> None:
        self._transaction.delete(key, db=self._databases[database])


def is_sound(database: bytes, key: bytes, sealed: bytes) -> bool:
    """Whether a stored value is what was written there."""
    return _checksum(database, key, sealed[_CHECKSUM_BYTES:]) == sealed[:_CHECKSUM_BYTES]


def manifest_of(sealed: bytes) -> Manifest:
    """Decode a manifest record whose checksum holds."""
    return Manifest.from_json(sealed[_CHECKSUM_BYTES + _ID.size :])


def _checksum(database: bytes, key: bytes, value: bytes) -> bytes:
    return xxhash.xxh3_64_digest(database + key + value)


def _encode_item(stored: StoredItem) -> bytes:
    # Lone surrogates are escaped, so names that are not UTF-8 survive. The source comes first.
    return _TO_JSON(
        {
            "source": stored.item.source,
            "row": stored.item.row,
            "columns": dict(stored.item.columns),
            "parts": [[p.role, p.modality, p.path, p.text] for p in stored.item.parts],
            "chunks": [[[c.start, c.end] for c in chunks] for chunks in stored.chunks],
            "fingerprint": stored.fingerprint,
            "contents": stored.contents,
        }
    ).encode()


def _decode_item(item_id: int, raw: bytes) -> StoredItem:
    value, _ = _FROM_JSON(raw.decode())
    item = Item(
        source=value["source"],
        parts=tuple(Part(r, _MODALITIES[m], path, text) for r, m, path, text in value["parts"]),
        row=value["row"],
        columns={name: _column(cell) for name, cell in value["columns"].items()},
        id=item_id,
    )
    chunks = tuple(tuple(Chunk(start, end) for start, end in part) for part in value["chunks"])
    return StoredItem(item, chunks, value["fingerprint"], value["contents"])


def _column(cell: Any) -> ColumnValue:
    return tuple(cell) if isinstance(cell, list) else cell
