"""From what callers pass to what the engine works with."""

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain
from typing import TypeAlias

from mmsearch.errors import UsageError
from mmsearch.records import Item, Modality
from mmsearch.sources import Found, find_items
from mmsearch.sources.formats import read_text

PathLike: TypeAlias = str | os.PathLike[str]


def find_sources(
    sources: PathLike | Iterable[PathLike] | Iterable[Item], text_columns: Sequence[str]
) -> tuple[Iterator[Found], list[str]]:
    """Return the items to index, and the paths that they cover completely (none for items)."""
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    if isinstance(text_columns, str):  # a sequence of letters, as far as types go
        text_columns = [text_columns]
    iterator = iter(sources)
    first = next(iterator, None)
    if isinstance(first, Item):
        return _items(chain([first], iterator)), []
    paths = [] if first is None else [*map(absolute, [first, *_paths(iterator)])]
    return find_items(paths, text_columns=text_columns), paths


def _items(items: Iterable[object]) -> Iterator[Item]:
    for item in items:
        if not isinstance(item, Item):
            raise UsageError(f"{item!r}: items and paths do not mix in one call")
        yield item


def _paths(values: Iterable[object]) -> Iterator[PathLike]:
    for value in values:
        if not isinstance(value, str | os.PathLike):
            raise UsageError(f"{value!r}: neither a path nor an item")
        yield value


def text_lines(path: PathLike) -> list[str]:
    """Return the lines of a text file that are not blank.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def listed(sources: PathLike | Iterable[PathLike]) -> list[PathLike]:
    """Return one or several paths as a list."""
    return [sources] if isinstance(sources, str | os.PathLike) else list(sources)


def absolute(path: PathLike) -> str:
    """Return a path as items name their source.

    Raises:
        UsageError: It is empty: that would be the working directory.
    """
    if not os.fsdecode(path):
        raise UsageError("an empty path; name a file or a folder")
    return os.path.abspath(os.path.expanduser(os.fsdecode(path)))


def names(source: PathLike) -> list[str]:
    """Return what an item may be named by: as it is given (a program's own name), and as a path."""
    return list(dict.fromkeys((os.fsdecode(source), absolute(source))))


def is_below(source: str, roots: Set[str]) -> bool:
    """Whether a source is one of the roots, or lies in one; a shell may have named thousands."""
    while source not in roots:
        parent = os.path.dirname(source)
        if parent in (source, ""):
            return False
        source = parent
    return True


def modalities(
    target: Modality | str | Sequence[Modality | str] | None,
) -> Sequence[Modality] | None:
    """Return the modalities that a caller names.

    Raises:
        UsageError: There is no such modality.
    """
    if target is None:
        return None
    asked = [target] if isinstance(target, str) else list(target)
    if not asked:
        raise UsageError("the target is empty; name a modality, or give none for all")
    try:
        return [Modality(name) for name in asked]
    except ValueError:
        known = ", ".join(Modality)
        raise UsageError(
            f"target {', '.join(asked)}: a modality is one of {known}; a video has image and audio"
        ) from None
