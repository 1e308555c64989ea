"""What is checked of LMDB's file before LMDB reads it, because LMDB trusts every byte.

A writer that closes cleanly seals the file (:mod:`mmsearch.store.seal`); the seal is taken away
before the next write. So whoever opens a sealed file knows all its bytes. Without a seal (a writer
is at work, or was killed) the records' own checksums have to do.
"""

import struct
from pathlib import Path

from lmdb.verify import VerifyError, verify

from mmsearch.errors import DamagedIndexError
from mmsearch.store.seal import CHECKED_BYTES, Descriptor, breach, remove_seal, write_seal

DATA = "data.mdb"
LOCK = "lock.mdb"
_META_PAGES = 2
_PAGE_BYTES = struct.Struct("=I")
_PAGE_BYTES_AT = 40
_LAST_PAGE = struct.Struct("=QQ")
_LAST_PAGE_AT = 136


def refuse_damaged(folder: Path, limit_bytes: int | None = CHECKED_BYTES) -> None:
    """Check the file that LMDB is about to open; one that is not there is not damaged.

    Args:
        folder: The index folder.
        limit_bytes: Longer files are checked for their length only; ``None``: check any.

    Raises:
        DamagedIndexError: It is not what was written, or reading it would end the process.
    """
    path = folder / DATA
    if not path.exists():
        return
    is_small = limit_bytes is None or path.stat().st_size <= limit_bytes
    problem = (_breach(path) if is_small else None) or _shortness(path)
    if problem:
        raise DamagedIndexError(f"{path}: damaged ({problem}); run `mmsearch repair`")


def file_problems(folder: Path) -> list[str]:
    """Check the whole file: seal and structure; never raises on damage."""
    path = folder / DATA
    if not path.exists():
        return ["the file is missing"]
    broken = _breach(path)
    return [*([broken] if broken else []), *structure_problems(path)]


def structure_problems(path: Path) -> list[str]:
    """Walk the pages of an LMDB file without LMDB."""
    try:
        problems: list[str] = verify(str(path), subdir=False)  # type: ignore[no-untyped-call]
        return problems
    except (VerifyError, OSError, ValueError, struct.error, RecursionError, MemoryError) as error:
        return [str(error) or type(error).__name__]


def unseal(folder: Path) -> None:
    """Take the seal away, before anything is written."""
    remove_seal(folder / DATA)


def seal(folder: Path) -> None:
    """Vouch for the file; only a writer that is done may call it."""
    descriptor = Descriptor.acquire(folder / DATA)
    try:
        write_seal(folder / DATA, descriptor.seal())
    finally:
        descriptor.release()


def _breach(path: Path) -> str | None:
    descriptor = Descriptor.acquire(path)
    try:
        return breach(path, descriptor)
    finally:
        descriptor.release()


def _shortness(path: Path) -> str | None:
    """Look for a file that ends too early: reading beyond its end ends the process with SIGBUS.

    A sound file may end before its last page, when the commit freed that page again and never wrote
    it (``P_LOOSE`` in mdb.c; 2 of 2,250 random commits). The slow check tells the two apart.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_LAST_PAGE_AT + _LAST_PAGE.size)
        if len(head) < _LAST_PAGE_AT + _LAST_PAGE.size:
            return f"{size} bytes long"
        (page_bytes,) = _PAGE_BYTES.unpack_from(head, _PAGE_BYTES_AT)
        file.seek(page_bytes)
        twin = file.read(_LAST_PAGE_AT + _LAST_PAGE.size)
    if page_bytes not in (2**n for n in range(8, 17)) or len(twin) < len(head):
        return f"{size} bytes long"
    metas = [_LAST_PAGE.unpack_from(meta, _LAST_PAGE_AT) for meta in (head, twin)]
    last_page, _ = max(metas, key=lambda meta: meta[1])
    if size >= (last_page + 1) * page_bytes and last_page + 1 >= _META_PAGES:
        return None
    problems = structure_problems(path)
    return problems[0] if problems else None
