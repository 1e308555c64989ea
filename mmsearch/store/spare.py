"""A copy of the manifest beside LMDB: every vector file hangs on that one record."""

from pathlib import Path

import xxhash

from mmsearch.errors import DamagedIndexError, IndexFormatError
from mmsearch.store.manifest import Manifest
from mmsearch.whole import written_whole

SPARE = "manifest.json"


def write_spare(folder: Path, manifest: Manifest) -> None:
    """Replace the copy, after the LMDB commit and before any file of the old manifest goes."""
    encoded = manifest.to_json()
    with written_whole(folder / SPARE) as path:
        path.write_bytes(xxhash.xxh3_64_hexdigest(encoded).encode() + b"\n" + encoded)


def read_spare(folder: Path) -> Manifest | None:
    """Return the copy, of the last commit or (after a crash) the one before; None without one.

    Raises:
        DamagedIndexError: The copy is not what was written.
    """
    try:
        digest, _, encoded = (folder / SPARE).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if xxhash.xxh3_64_hexdigest(encoded).encode() != digest:
        raise DamagedIndexError(f"{folder / SPARE}: damaged; run `mmsearch repair`")
    return Manifest.from_json(encoded)


def sound_spare(folder: Path) -> Manifest | None:
    """Return the copy if there is one that can be believed."""
    try:
        return read_spare(folder)
    except (DamagedIndexError, IndexFormatError):
        return None
