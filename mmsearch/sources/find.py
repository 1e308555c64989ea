"""From the paths that a person names to a stream of items."""

import os
import stat
from collections.abc import Iterator, Sequence

from mmsearch.errors import UsageError, one_line
from mmsearch.records import Failure, Item
from mmsearch.sources.manifest import STDIN, ManifestReader
from mmsearch.sources.rows import check_text_columns
from mmsearch.sources.suffixes import MANIFEST_SUFFIXES, suffix_of, supported_suffixes
from mmsearch.sources.walk import FolderWalk, Found, Ignored, file_item, reason_of


def find_items(
    paths: Sequence[str | os.PathLike[str]], *, text_columns: Sequence[str] = ()
) -> Iterator[Found]:
    """Stream the items of files, folders and manifests, in a reproducible order.

    Folders are walked recursively, their files in the order of names before their subfolders;
    hidden entries are skipped. Manifests (.jsonl, .ndjson, .csv, .tsv) are read only when named
    here: inside a folder they are files like any other. Every item comes once.

    Args:
        paths: Files, folders and manifests; ``~`` is expanded.
        text_columns: Manifest columns that become text parts.

    Returns:
        Items; failures, each with its reason; and files of a type that is not indexed.

    Raises:
        UsageError: A path does not exist, or the text columns make no sense; raised by the
            call itself, before anything is read.
    """
    named = list(dict.fromkeys(_existing(path) for path in paths))
    check_text_columns(text_columns)
    if text_columns and not any(_is_manifest(path) for path in named):
        raise UsageError(
            f"text column '{one_line(text_columns[0])}': only manifests (.jsonl, .csv) have "
            "columns, and none is given"
        )
    return _find(named, text_columns)


def find_rows(path: str | os.PathLike[str]) -> Iterator[Item | Failure]:
    """Stream the rows of a manifest, or of a file that holds a text a line; ``-`` is stdin.

    Raises:
        UsageError: There is no such file; raised by the call itself.
    """
    source = STDIN if os.fspath(path) == STDIN else _existing(path)
    if os.path.isdir(source):
        raise UsageError(f"{one_line(source)}: a folder; name a file")
    return ManifestReader(()).items(source)


def _find(named: list[str], text_columns: Sequence[str]) -> Iterator[Found]:
    walk = FolderWalk(skip=[path for path in named if not os.path.isdir(path)])
    manifests = ManifestReader(text_columns)
    for path in named:
        if os.path.isdir(path):
            yield from walk.files(path)
        elif _is_manifest(path):
            yield from manifests.items(path)
        else:
            yield _named_file(path)
    yield from walk.linked_files()
    yield from manifests.missing_columns()


def _existing(path: str | os.PathLike[str]) -> str:
    name = os.path.abspath(os.path.expanduser(os.fsdecode(path)))
    try:
        os.stat(name)
    except FileNotFoundError:
        kind = "a broken link" if os.path.islink(name) else "no such file or folder"
        raise UsageError(f"{one_line(name)}: {kind}") from None
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"{one_line(name)}: {reason}") from None
    return name


def can_hold_items(path: str) -> bool:
    """Whether a path is a folder or a manifest, not a file that is one item."""
    return os.path.isdir(path) or _is_manifest(path)


def _is_manifest(path: str) -> bool:
    return suffix_of(path) in MANIFEST_SUFFIXES and not os.path.isdir(path)


def _named_file(path: str) -> Found:
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        return Failure(path, reason_of(error))
    if not regular:
        return Failure(path, "not a regular file")
    found = file_item(path)
    if isinstance(found, Ignored):
        kind = f"files of type {found.suffix}" if found.suffix else "files without a suffix"
        return Failure(path, f"{kind} are not indexed (only {supported_suffixes()})")
    return found
