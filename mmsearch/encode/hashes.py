"""Hashes of weights files, which take seconds for gigabytes: kept by path, size and time."""

import hashlib
import json
import os
import time
from pathlib import Path

from mmsearch.cache import keep
from mmsearch.config import cache_folder

LARGE_BYTES = 32 * 2**20
"""What is smaller is hashed in no time."""


SETTLED_NS = 2 * 10**9
"""A file that has just changed may change again within one tick of its clock."""


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read only if it has changed since its hash was kept."""
    whole = path.resolve()
    found = whole.stat()
    if found.st_size < LARGE_BYTES:
        return _hash(whole)
    stamp = _stamp(whole, found)
    name = hashlib.sha256(str(whole).encode(errors="surrogateescape")).hexdigest()[:32]
    kept = cache_folder() / "sha256" / f"{name}.json"
    try:
        entry = json.loads(kept.read_text(encoding="utf-8"))
        if entry["of"] == stamp:
            return str(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = _hash(whole)
    settled = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS
    if settled and stamp == _stamp(whole, whole.stat()):
        keep(kept, json.dumps({"of": stamp, "sha256": digest}).encode())
    return digest


def _stamp(path: Path, found: os.stat_result) -> list[str | int]:
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return [os.fsencode(path).hex(), found.st_size, found.st_ino, *times]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
