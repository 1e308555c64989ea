"""Rewriting what is stored, never what it says: training codebooks, compaction."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.store.codebook import train_codebook
from mmsearch.store.field import Field
from mmsearch.store.files import FileInfo, write_file
from mmsearch.store.manifest import EXACT, Bank, FieldInfo, SegmentInfo
from mmsearch.store.metadata import CHUNK_BITS, Snapshot
from mmsearch.store.nearness import write_nearness
from mmsearch.store.plan import Plan, is_large, needed_bytes
from mmsearch.store.recipes import training_rows
from mmsearch.store.segment import Segment, write_segment
from mmsearch.store.writer import Writer

log = logging.getLogger(__name__)
_SEED = 0


def settle(writer: Writer, *, large_only: bool = False) -> None:
    """Train codebooks for the fields that have become large, or have outgrown theirs or a budget.

    Args:
        writer: The writer.
        large_only: Leave the fields alone that can be searched exactly: while items are still
            coming in, a codebook trained on the first of them would not know the others.
    """
    manifest = writer.manifest
    plan = Plan.of(manifest, manifest.fields)
    fields = [
        with_codebook(writer, info, recipe)
        for info in manifest.fields
        if (is_large(info) or not large_only)
        and (recipe := plan.recipe_of(info)) != EXACT
        and plan.is_due(info)
    ]
    if fields:
        writer.replace_fields(fields, cleared=np.empty(0, np.int64))
    if not large_only:
        _tell_if_short(writer)


def _tell_if_short(writer: Writer) -> None:
    budget, needed = writer.manifest.memory_bytes, needed_bytes(writer.manifest.fields)
    if budget is not None and budget < needed:
        log.warning(
            "%s: even the smallest codes need %s MB of memory, more than the %s MB that are set",
            writer.folder,
            f"{needed / 1e6:,.1f}",
            f"{budget / 1e6:,.1f}",
        )


def compact(writer: Writer) -> None:
    """Merge the segments of each field into one, without the vectors of deleted items."""
    with writer.environment.read() as transaction:
        dead = Snapshot(writer.environment, transaction).tombstones()
    before = writer.manifest.fields
    fields = without_items(writer, (Field(writer.folder, info) for info in before), dead)
    banked = [with_banks(writer, info, old.banks) for info, old in zip(fields, before, strict=True)]
    writer.replace_fields(banked, cleared=dead)


def without_items(
    writer: Writer, fields: Iterable[Field], dead: NDArray[np.int64], offset: int = 0
) -> list[FieldInfo]:
    """Write each field into one segment, without banks and the vectors of some items.

    Args:
        writer: The writer of the index that gets the segments.
        fields: The fields, of any index.
        dead: (n,) int64, the ids of the items.
        offset: What is added to each chunk id.
    """

    def is_kept(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return ~np.isin(ids >> CHUNK_BITS, dead)

    bare = [rewritten(writer, f.info, f.segments, is_kept, offset) for f in fields]
    plan = Plan.of(writer.manifest, bare)
    return [with_recipe(writer, info, plan) for info in bare]


def rewritten(
    writer: Writer,
    info: FieldInfo,
    segments: Sequence[Segment],
    is_kept: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    offset: int = 0,
) -> FieldInfo:
    """Write some rows of a field into one segment, without codebook and banks.

    Args:
        writer: The index's writer.
        info: The field.
        segments: Those of its segments to read.
        is_kept: Says of (n,) chunk ids which to keep, (n,) bool; no other row is read.
        offset: What is added to each chunk id.
    """
    rows = [np.flatnonzero(is_kept(segment.ids)) for segment in segments]
    ids = np.concatenate(
        [np.empty(0, np.int64), *(s.ids[r] + offset for s, r in zip(segments, rows, strict=True))]
    )
    info = replace(info, segments=(), codebook=None, recipe=EXACT, banks=())
    if not len(ids):
        return info
    blocks = (v for s, r in zip(segments, rows, strict=True) for _, v in s.blocks(r))
    vectors = write_segment(writer.folder, writer.new_name("vectors"), ids, blocks)
    return replace(info, segments=(SegmentInfo(vectors, None, len(ids), int(ids[-1])),))


def with_recipe(writer: Writer, info: FieldInfo, plan: Plan) -> FieldInfo:
    """Index a field as planned, if not exactly."""
    recipe = plan.recipe_of(info)
    return info if recipe == EXACT else with_codebook(writer, info, recipe)


def with_banks(writer: Writer, info: FieldInfo, banks: Sequence[Bank]) -> FieldInfo:
    """Write how near all rows of a field are to some banks, which become its own."""
    bare = Field(writer.folder, info.bare().without_banks())

    def files(segment: Segment) -> Iterator[FileInfo]:
        for bank in banks:
            blocks = (vectors for _, vectors in segment.blocks())
            yield write_nearness(writer.folder, writer.new_name("nearness"), bank, blocks)

    segments = [
        replace(segment, nearness=tuple(files(opened)))
        for segment, opened in zip(info.segments, bare.segments, strict=True)
    ]
    return replace(info, segments=tuple(segments), banks=tuple(banks))


def with_codebook(writer: Writer, info: FieldInfo, recipe: str) -> FieldInfo:
    """Train a codebook on a sample of the field and encode all its rows."""
    field = Field(writer.folder, info.bare())  # codes and codebook may be damaged
    trained = train_codebook(recipe, _sample(field, recipe), writer.device)
    codebook = write_file(writer.folder, writer.new_name("codebook"), [trained])
    segments = [
        replace(
            segment.info,
            codes=writer.write_codes(codebook, (vectors for _, vectors in segment.blocks())),
        )
        for segment in field.segments
    ]
    return replace(
        info,
        segments=tuple(segments),
        codebook=codebook,
        recipe=recipe,
        trained_rows=info.rows,
        chosen=info.chosen and recipe,
    )


def _sample(field: Field, recipe: str) -> FloatArray:
    count = min(field.rows, training_rows(recipe, field.info.dim))
    rows = np.sort(np.random.default_rng(_SEED).choice(field.rows, count, replace=False))
    sample = np.empty((count, field.info.dim), np.float32)
    start = filled = 0
    for segment in field.segments:  # streamed: gathered at once, they would take twice the memory
        within = rows[(start <= rows) & (rows < start + segment.rows)] - start
        for _, vectors in segment.blocks(within):
            sample[filled : filled + len(vectors)] = vectors
            filled += len(vectors)
        start += segment.rows
    return sample
