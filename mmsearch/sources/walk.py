"""Walking folders: in order, with flat memory, and around whatever is in the way."""

import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from mmsearch.records import Failure, Item, Part
from mmsearch.sources.suffixes import is_video, modalities_of, suffix_of


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file of a type that mmsearch does not index.

    Attributes:
        source: The file, absolute.
        suffix: Its suffix in lower case, with the dot; empty if it has none.
    """

    source: str
    suffix: str


Found: TypeAlias = Item | Failure | Ignored
"""What a source yields."""


def file_item(path: str) -> Item | Ignored:
    """The item that a regular file is, if its suffix says what it holds."""
    modalities = modalities_of(path)
    if not modalities:
        return Ignored(path, suffix_of(path))
    role = "video" if is_video(path) else "file"
    return Item(path, tuple(Part(role, modality, path) for modality in modalities))


def reason_of(error: OSError) -> str:
    """What the operating system says, without the path and the number."""
    return error.strerror or type(error).__name__


@dataclass(slots=True)
class _Listing:
    """What one folder holds: full paths, each list in the order of names."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class FolderWalk:
    """Yields the files of folders, each folder once however many links lead to it.

    Links to folders wait until all real folders have been walked: a folder that can be reached
    both ways is known by its real path, whatever links come and go. Memory is one folder's
    names, the waiting folders, and a device and inode number for each folder seen.

    Args:
        skip: Absolute paths of files that another argument has named already.
    """

    def __init__(self, skip: Collection[str] = ()) -> None:
        self._skip = frozenset(skip)
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[str] = deque()

    def files(self, root: str) -> Iterator[Found]:
        """Everything below a folder, links to folders put aside: files, then subfolders."""
        waiting = [root]
        while waiting:
            try:
                listing = self._list(waiting.pop())
            except _Unreadable as error:
                yield error.failure
                continue
            yield from listing.failures
            yield from (file_item(path) for path in listing.files if path not in self._skip)
            self._links.extend(listing.links)
            waiting.extend(reversed(listing.folders))

    def linked_files(self) -> Iterator[Found]:
        """Everything below the links that ``files`` put aside, and below links found there."""
        while self._links:
            yield from self.files(self._links.popleft())

    def _list(self, folder: str) -> _Listing:
        listing = _Listing()
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in self._seen:
                return listing
            self._seen.add(identity)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        _sort_entry(entry, listing)
        except OSError as error:
            raise _Unreadable(Failure(folder, reason_of(error))) from error
        for paths in (listing.files, listing.folders, listing.links):
            paths.sort()
        listing.failures.sort(key=lambda failure: failure.source)
        return listing


class _Unreadable(Exception):
    """A folder that cannot be listed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def _sort_entry(entry: os.DirEntry[str], listing: _Listing) -> None:
    try:
        if entry.is_symlink():
            mode = entry.stat().st_mode
            if stat.S_ISDIR(mode):
                listing.links.append(entry.path)
            elif stat.S_ISREG(mode):
                listing.files.append(entry.path)
            else:
                listing.failures.append(Failure(entry.path, "not a regular file"))
        elif entry.is_dir(follow_symlinks=False):
            listing.folders.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            listing.files.append(entry.path)
        else:
            listing.failures.append(Failure(entry.path, "not a regular file"))
    except OSError as error:
        kind = "broken link: " if isinstance(error, FileNotFoundError) else ""
        listing.failures.append(Failure(entry.path, kind + reason_of(error)))
