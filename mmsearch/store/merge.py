"""Keeping segments few: neighbours of one size become one, so a row is rewritten log(n) times."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.store.field import read_all
from mmsearch.store.files import CheckedFile, FileInfo, write_file
from mmsearch.store.manifest import FieldInfo, SegmentInfo
from mmsearch.store.segment import Segment, write_segment

FAN_IN = 8
"""How many segments of one size become one."""
_SMALLEST_ROWS = 1000


def merge_tail(folder: Path, info: FieldInfo, new_name: Callable[[str], str]) -> FieldInfo:
    """Merge the newest segments while ``FAN_IN`` of them are of one size.

    Size-tiered compaction; rows keep their order, their ids and their codes.
    """
    while count := _due(info.segments):
        merged = _merge(folder, info, info.segments[-count:], new_name)
        info = replace(info, segments=(*info.segments[:-count], merged))
    return info


def _due(segments: Sequence[SegmentInfo]) -> int:
    """Return how many of the newest segments to merge, 0 for none.

    Smaller ones before the newest join it, so that sizes fall from the oldest to the newest: each
    size has fewer than ``FAN_IN`` segments, whatever the order in which they came.
    """
    tiers = [_tier(segment.rows) for segment in reversed(segments)]
    smaller = sum(1 for _ in takewhile(lambda tier: tier < tiers[0], tiers[1:]))
    if smaller:
        return smaller + 1
    same = sum(1 for _ in takewhile(lambda tier: tier == tiers[0], tiers))
    return FAN_IN if same >= FAN_IN else 0


def _tier(rows: int) -> int:
    return int(log(max(rows, _SMALLEST_ROWS) / _SMALLEST_ROWS, FAN_IN))


def _merge(
    folder: Path, info: FieldInfo, tail: Sequence[SegmentInfo], new_name: Callable[[str], str]
) -> SegmentInfo:
    segments = [Segment(folder, segment, info.dim) for segment in tail]
    ids = np.concatenate([segment.ids for segment in segments])
    vectors = (block for segment in segments for _, block in segment.blocks())
    return SegmentInfo(
        vectors=write_segment(folder, new_name("vectors"), ids, vectors),
        codes=_merge_codes(folder, tail, new_name) if info.codebook else None,
        rows=len(ids),
        last_id=int(ids[-1]),
    )


def _merge_codes(
    folder: Path, tail: Sequence[SegmentInfo], new_name: Callable[[str], str]
) -> FileInfo:
    def payload() -> Iterator[memoryview]:
        for segment in tail:
            assert segment.codes is not None
            codes: NDArray[np.uint8] = read_all(CheckedFile(folder, segment.codes))
            yield codes.data

    return write_file(folder, new_name("codes"), payload())
