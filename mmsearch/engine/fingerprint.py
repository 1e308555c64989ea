"""Telling whether an item has changed, without reading its files when nothing touched them."""

import hashlib
import json
import os
import time
from typing import Any

from mmsearch.decode import content_hash
from mmsearch.errors import DecodeError
from mmsearch.records import Item, Part

_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within one tick of the clock."""


def fingerprint(item: Item) -> str:
    """Hash columns, parts and the times of the files.

    Size, times and inode of a file decide, as in git; ctime changes with every write and cannot be
    set back. Empty for a file that was changed a moment ago: equal to nothing.

    Raises:
        OSError: A file cannot be looked at.
    """
    parts: list[Any] = []
    for part in item.parts:
        stat = os.stat(part.path) if part.path else None
        if stat and time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < _SETTLED_NS:
            return ""
        times = (
            [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] if stat else part.text
        )
        parts.append([part.role, part.modality, part.path, times])
    value = json.dumps([parts, dict(item.columns)], sort_keys=True)
    return hashlib.sha256(value.encode()).hexdigest()


def contents(item: Item) -> str:
    """Return the SHA-256 over modality and contents of each part: equal items, equal vectors.

    A file that cannot be read counts as empty: decoding it will say why.
    """
    digest = hashlib.sha256()
    for part in item.parts:
        digest.update(part.modality.encode() + b"\0" + _part_hash(part))
    return digest.hexdigest()


def _part_hash(part: Part) -> bytes:
    try:
        return content_hash(part)
    except DecodeError:
        return b""


def same_record(item: Item, other: Item) -> bool:
    """Whether two versions of an item have the same columns and the same parts by name."""
    return dict(item.columns) == dict(other.columns) and item.parts == other.parts
