"""Keeping segments few: neighbours of one size become one, so a row is rewritten log(n) times."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from math import log
from pathlib import Path

import numpy as np

from mmsearch.store.codes import join_codes
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
    codes = [segment.codes for segment in tail if segment.codes]
    return SegmentInfo(
        vectors=write_segment(folder, new_name("vectors"), ids, vectors),
        codes=join_codes(folder, new_name("codes"), codes) if codes else None,
        rows=len(ids),
        last_id=int(ids[-1]),
        nearness=tuple(
            _joined(folder, [segment.nearness[at] for segment in tail], new_name("nearness"))
            for at in range(len(info.banks))
        ),
    )


def _joined(folder: Path, files: Sequence[FileInfo], name: str) -> FileInfo:
    """Write one file that holds what some files hold, one after the other."""
    return write_file(folder, name, (read_all(CheckedFile(folder, file)).data for file in files))
