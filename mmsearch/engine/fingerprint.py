"""Telling whether an item has changed, without reading its files when nothing touched them."""

import hashlib
import json
import os
import time

from mmsearch.decode import content_hash
from mmsearch.errors import DecodeError, UsageError
from mmsearch.records import Item, Part

_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within one tick of the clock."""


def fingerprint(item: Item) -> str:
    """Hash columns, parts and the times of the files.

    Size, times and inode of a file decide, as in git; ctime changes with every write and cannot be
    set back. Empty for a file that was changed a moment ago: equal to nothing.

    Raises:
        UsageError: The columns hold something that is no metadata.
    """
    states = [_state(part) for part in item.parts]
    if None in states:
        return ""
    parts = [
        [part.role, part.modality, part.path, state]
        for part, state in zip(item.parts, states, strict=True)
    ]
    try:
        value = json.dumps([parts, dict(item.columns)], sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"item {item.source!r}: its columns cannot be stored: {error}") from None
    return hashlib.sha256(value.encode()).hexdigest()


def _state(part: Part) -> list[int | str | None] | None:
    """Return what tells a part from another version of it; None for a file just changed."""
    if part.path is None:
        return [part.text]
    try:
        stat = os.stat(part.path)
    except (OSError, ValueError) as error:  # decoding will say it too
        return [type(error).__name__]
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < _SETTLED_NS:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def contents(item: Item) -> str:
    """Return the SHA-256 over modality and contents of each part: equal items, equal vectors.

    A file that cannot be read counts as empty: decoding it will say why.
    """
    digest = hashlib.sha256()
    known: dict[str | None, bytes] = {}  # pictures and sound of a video are one file
    for part in item.parts:
        found = known.get(part.path) or _part_hash(part)
        if part.path:
            known[part.path] = found
        digest.update(part.modality.encode() + b"\0" + found)
    return digest.hexdigest()


def _part_hash(part: Part) -> bytes:
    try:
        return content_hash(part)
    except DecodeError:
        return b""


def same_record(item: Item, other: Item) -> bool:
    """Whether two versions of an item have the same columns and the same parts by name."""
    return dict(item.columns) == dict(other.columns) and item.parts == other.parts
