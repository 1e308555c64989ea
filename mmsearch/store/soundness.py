"""Checking the files of a field byte by byte, and its rows against the items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError
from mmsearch.records import Modality
from mmsearch.store.files import CheckedFile, FileInfo
from mmsearch.store.manifest import FieldInfo, SegmentInfo
from mmsearch.store.metadata import CHUNK_BITS, StoredItem
from mmsearch.store.segment import Segment

_NAMED_BLOCKS = 5


@dataclass(slots=True)
class FieldState:
    """What is left of a field.

    Attributes:
        info: The field.
        segments: The segments whose ids are sound.
        damaged_items: Ids of the items that own rows whose vectors are damaged.
        vectors: (file, what is wrong) of vector files.
        codes: (file, what is wrong) of codes and the codebook.
        nearness: (file, what is wrong) of nearness and banks.
    """

    info: FieldInfo
    segments: list[Segment] = field(default_factory=list)
    damaged_items: set[int] = field(default_factory=set)
    vectors: list[tuple[str, str]] = field(default_factory=list)
    codes: list[tuple[str, str]] = field(default_factory=list)
    nearness: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The chunk ids of the segments that can be read, ascending."""
        return np.concatenate([np.empty(0, np.int64), *(s.ids for s in self.segments)])


def inspect_field(folder: Path, info: FieldInfo) -> FieldState:
    """Check every block of every file of a field; never raises on damage."""
    state = FieldState(info)
    last_id = -1
    for segment in info.segments:
        _inspect_segment(folder, segment, last_id, state)
        last_id = segment.last_id
        if segment.codes:
            state.codes.extend(file_problems(folder, segment.codes))
        for file in segment.nearness:
            state.nearness.extend(file_problems(folder, file))
    if info.codebook:
        state.codes.extend(file_problems(folder, info.codebook))
    for bank in info.banks:
        state.nearness.extend(file_problems(folder, bank.vectors))
    return state


def _inspect_segment(folder: Path, info: SegmentInfo, last_id: int, state: FieldState) -> None:
    name = info.vectors.name
    try:
        segment = Segment(folder, info, state.info.dim)
    except (DamagedIndexError, OSError, ValueError) as error:
        state.vectors.append((name, _reason(error)))
        return
    if not _ascend(segment.ids, last_id, info.last_id):
        state.vectors.append((name, "its ids are not in order"))
        return
    state.segments.append(segment)
    blocks = segment.file.damaged_blocks()
    if len(blocks):
        state.vectors.append((name, _named(blocks)))
        owners = segment.ids[segment.rows_in(blocks)] >> CHUNK_BITS
        state.damaged_items.update(owners.tolist())


def _ascend(ids: NDArray[np.int64], after: int, last: int) -> bool:
    return bool(np.all(np.diff(ids, prepend=after) > 0)) and int(ids[-1]) == last


def file_problems(folder: Path, info: FileInfo) -> Iterator[tuple[str, str]]:
    """Check every block of a file; yields its name and what is wrong, if anything is."""
    try:
        blocks = CheckedFile(folder, info).damaged_blocks()
    except (DamagedIndexError, OSError, ValueError) as error:
        yield info.name, _reason(error)
        return
    if len(blocks):
        yield info.name, _named(blocks)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    return str(error).split("; run `mmsearch", 1)[0]


def _named(blocks: NDArray[np.int64]) -> str:
    listed = ", ".join(map(str, blocks[:_NAMED_BLOCKS].tolist()))
    more = f" and {len(blocks) - _NAMED_BLOCKS} more" if len(blocks) > _NAMED_BLOCKS else ""
    return f"damaged blocks: {listed}{more}"


class RowCheck:
    """Compares the rows of a field with the chunks of the items, a batch of items at a time."""

    def __init__(self, state: FieldState, dead: NDArray[np.int64]) -> None:
        self._modality: Modality = state.info.name.modality
        owners = state.ids >> CHUNK_BITS
        self._ids = state.ids[~np.isin(owners, dead)]
        self._start = 0

    def take(self, items: Sequence[StoredItem]) -> NDArray[np.int64]:
        """Return whose rows are not the chunks: ids of these items, or of items that are not.

        Args:
            items: The next items by id.
        """
        stop = int(np.searchsorted(self._ids, (items[-1].id + 1) << CHUNK_BITS))
        rows = self._ids[self._start : stop]
        self._start = stop
        chunks = [chunk for item in items for chunk in item.chunk_ids(self._modality)]
        wrong = np.setxor1d(np.array(chunks, np.int64), rows, assume_unique=True)
        return np.unique(wrong >> CHUNK_BITS)

    def rest(self) -> NDArray[np.int64]:
        """Return the owners of rows behind the last item."""
        return np.unique(self._ids[self._start :] >> CHUNK_BITS)
