"""Hashes of weights files, which take seconds for gigabytes: kept by path, size and time."""

import hashlib
import json
import logging
from pathlib import Path

from mmsearch.config import cache_folder
from mmsearch.whole import written_whole

log = logging.getLogger(__name__)

LARGE_BYTES = 32 * 2**20
"""What is smaller is hashed in no time."""


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read only if it has changed since its hash was kept."""
    whole = path.resolve()
    found = whole.stat()
    if found.st_size < LARGE_BYTES:
        return _hash(whole)
    stamp = [str(whole), found.st_size, found.st_mtime_ns, found.st_ino]
    name = hashlib.sha256(str(whole).encode(errors="surrogateescape")).hexdigest()[:32]
    kept = cache_folder() / "sha256" / f"{name}.json"
    try:
        entry = json.loads(kept.read_text(encoding="utf-8"))
        if entry["of"] == stamp:
            return str(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = _hash(whole)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(kept) as temporary:
            temporary.write_text(json.dumps({"of": stamp, "sha256": digest}), encoding="utf-8")
    except OSError as error:
        log.debug("%s: cannot be written: %s", kept, error)
    return digest


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
