"""The pages of an LMDB file, read without LMDB: it trusts every byte that it reads.

LMDB 0.9 on a 64-bit machine (mdb.c: ``MDB_page``, ``MDB_node``, ``MDB_meta``). A page that does
not make sense holds nothing; what its records say is for checksums to decide.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmsearch.closing import Closing

_HEADER = struct.Struct("=QHHHH")  # number, pad, flags, lower, upper
_NODE = struct.Struct("=HHHH")  # size (low, high), flags, key size
_NUMBER = struct.Struct("=Q")
_META = struct.Struct("=IIQQ")  # magic, version, address, map size
_TREE = struct.Struct("=IHHQQQQQ")  # pad, flags, depth, 3 page counts, entries, root
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_IN_OVERFLOW, _IS_TREE = 1, 2
_FIRST_PAGE = 2
_USUAL_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Meta:
    """One of the two pages that say which trees are current."""

    page_bytes: int
    free_root: int
    main_root: int
    last_page: int
    transaction: int


@dataclass(frozen=True, slots=True)
class Node:
    """A key and its value on a leaf page; ``is_tree``: the value is the root of another tree."""

    key: bytes
    value: bytes
    is_tree: bool


class PageFile(Closing):
    """An LMDB file open for reading its pages; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._file = os.open(path, os.O_RDONLY)
        self.size_bytes = os.fstat(self._file).st_size
        metas = [self._meta(at) for at in (0, _USUAL_PAGE_BYTES)]
        self.page_bytes = next((m.page_bytes for m in metas if m), _USUAL_PAGE_BYTES)
        metas[1] = self._meta(self.page_bytes)
        self.metas = [meta for meta in metas if meta]

    @property
    def newest(self) -> Meta | None:
        """The meta page of the last commit; None unless both are sound."""
        return max(self.metas, key=lambda meta: meta.transaction) if len(self.metas) == 2 else None

    def all_pages(self) -> range:
        """The numbers of all pages that hold data."""
        return range(_FIRST_PAGE, self.size_bytes // self.page_bytes)

    def reachable(self, root: int) -> set[int]:
        """The pages of a tree and of the trees whose roots are in it."""
        reached: set[int] = set()
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if number in reached or number not in self.all_pages():
                continue
            reached.add(number)
            waiting.extend(self._children(number))
            for node in self.nodes(number):
                if node.is_tree and len(node.value) == _TREE.size:
                    waiting.append(_TREE.unpack(node.value)[-1])
        return reached

    def free(self, root: int) -> set[int]:
        """The pages that the tree of free pages lists."""
        free: set[int] = set()
        for number in self.reachable(root):
            for node in self.nodes(number):
                whole = node.value[: len(node.value) // _NUMBER.size * _NUMBER.size]
                free.update(number for (number,) in list(_NUMBER.iter_unpack(whole))[1:])
        return free

    def nodes(self, number: int) -> Iterator[Node]:
        """The keys and values on a page, if it is a leaf."""
        page = self._page(number, _LEAF)
        if page is None:
            return
        for at in self._node_offsets(page):
            low, high, flags, key_bytes = _NODE.unpack_from(page, at)
            start = at + _NODE.size + key_bytes
            size = low | high << 16
            key = page[at + _NODE.size : start]
            if flags & _IN_OVERFLOW:
                value = self._overflow(page[start : start + _NUMBER.size], size)
            else:
                value = page[start : start + size]
            yield Node(key, value, bool(flags & _IS_TREE))

    def _children(self, number: int) -> Iterator[int]:
        page = self._page(number, _BRANCH)
        if page is None:
            return
        for at in self._node_offsets(page):
            low, high, top, _ = _NODE.unpack_from(page, at)
            yield low | high << 16 | top << 32

    def _page(self, number: int, kind: int) -> bytes | None:
        page = os.pread(self._file, self.page_bytes, number * self.page_bytes)
        if len(page) < self.page_bytes:
            return None
        stored, _, flags, lower, upper = _HEADER.unpack_from(page)
        is_sane = _HEADER.size <= lower <= upper <= self.page_bytes
        return page if stored == number and flags == kind and is_sane else None

    def _node_offsets(self, page: bytes) -> list[int]:
        lower = _HEADER.unpack_from(page)[3]
        count = (lower - _HEADER.size) // 2
        offsets = struct.unpack_from(f"={count}H", page, _HEADER.size)
        return [at for at in offsets if lower <= at <= len(page) - _NODE.size]

    def _overflow(self, pointer: bytes, size: int) -> bytes:
        if len(pointer) < _NUMBER.size:
            return b""
        start = _NUMBER.unpack(pointer)[0] * self.page_bytes + _HEADER.size
        if start + size > self.size_bytes:
            return b""
        return os.pread(self._file, size, start)

    def _meta(self, at: int) -> Meta | None:
        raw = os.pread(self._file, _HEADER.size + _META.size + 2 * _TREE.size + 16, at)
        if len(raw) < _HEADER.size + _META.size + 2 * _TREE.size + 16:
            return None
        magic, version, _, _ = _META.unpack_from(raw, _HEADER.size)
        free = _TREE.unpack_from(raw, _HEADER.size + _META.size)
        main = _TREE.unpack_from(raw, _HEADER.size + _META.size + _TREE.size)
        last_page, transaction = struct.unpack_from("=QQ", raw, len(raw) - 16)
        is_sane = free[0] in (2**n for n in range(8, 16)) and transaction % 2 == bool(at)
        if (magic, version) != (_MAGIC, _VERSION) or not (is_sane or not transaction):
            return None
        return Meta(free[0], free[-1], main[-1], last_page, transaction)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
