"""Restoring what can be restored, dropping and naming what cannot.

From the inside out: the records, then the vectors, then what is derived from both. Each step ends
with one commit or rename, so a repair that is killed is run again.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError
from mmsearch.store.catalog_writer import discard
from mmsearch.store.layout import CATALOG
from mmsearch.store.lock import WriterLock
from mmsearch.store.maintain import rewritten, with_codebook, with_recipe
from mmsearch.store.manifest import EXACT, FieldInfo
from mmsearch.store.metadata import CHUNK_BITS, Snapshot
from mmsearch.store.plan import Plan
from mmsearch.store.salvage import rebuild_records
from mmsearch.store.soundness import FieldState, inspect_field
from mmsearch.store.spare import SPARE, sound_spare
from mmsearch.store.verify import (
    catalog_damage,
    check_rows,
    find_damage,
    lock_index,
    opened,
    record_damage,
    scorer_damage,
)
from mmsearch.store.writer import Batch, Writer

_NAMED_ITEMS = 100


def repair_index(folder: Path) -> list[str]:
    """Repair an index; returns what was done, a line each; nothing when nothing is damaged.

    Raises:
        IndexNotFoundError: There is no index.
        IndexLockedError: A writer is at work.
        IndexFormatError: A newer version wrote the index.
        DamagedIndexError: Nothing can be rebuilt, or damage remains.
        MMSearchError: The records are damaged and this process has the index open.
    """
    lock = lock_index(folder)
    try:
        if not find_damage(folder):
            return []
        done = [*_repair_records(folder), *_repair_catalog(folder), *_repair_rest(folder, lock)]
        if left := find_damage(folder):
            raise DamagedIndexError(
                f"{folder}: still damaged after the repair ({left[0].where}: {left[0].what}); "
                "delete the folder and index the sources again"
            )
        return done
    finally:
        lock.release()


def _repair_records(folder: Path) -> Iterator[str]:
    problems = record_damage(folder)
    if problems:
        lost = rebuild_records(folder)
        yield f"data.mdb: {problems[0].what}; wrote every sound record to a new file"
        yield from lost


def _repair_catalog(folder: Path) -> Iterator[str]:
    """Clear away a catalog that is damaged; opening the writer makes it anew."""
    with opened(folder) as (snapshot, manifest):
        problem = next(catalog_damage(folder, snapshot, manifest), None)
    if problem:
        discard(folder / CATALOG)
        yield f"{CATALOG}: {problem.what}; made anew from the records"


def _repair_rest(folder: Path, lock: WriterLock) -> Iterator[str]:
    had_spare = sound_spare(folder) is not None
    writer = Writer(folder, lock=lock)
    try:
        if not had_spare:
            yield f"{SPARE}: written anew"
        yield from _repair_fields(writer)
        yield from _repair_scorers(writer)
    finally:
        writer.close()


def _repair_fields(writer: Writer) -> Iterator[str]:
    states = [inspect_field(writer.folder, info) for info in writer.manifest.fields]
    lost, stray = _lost_items(writer, states)
    yield from _drop(writer, sorted(lost))
    live = _live_items(writer)
    mended: list[FieldInfo] = []
    for state in states:
        mended.extend(_mend(writer, state, live, is_stray=state.info.name in stray))
        yield from _account(state, is_stray=state.info.name in stray)
    if mended:
        writer.replace_fields(mended, cleared=np.empty(0, np.int64))


def _repair_scorers(writer: Writer) -> Iterator[str]:
    """Drop the scorers whose file is damaged: nothing says what was in it."""
    problems = {
        damage.where: damage.what for damage in scorer_damage(writer.folder, writer.manifest)
    }
    if not problems:
        return
    scorers = writer.manifest.scorers
    writer.replace_scorers(scorer for scorer in scorers if scorer.file.name not in problems)
    for scorer in scorers:
        if what := problems.get(scorer.file.name):
            yield (
                f"{scorer.file.name}: {what}; dropped the {scorer.name} scorer, "
                "`mmsearch train fusion` makes another"
            )


def _lost_items(writer: Writer, states: list[FieldState]) -> tuple[set[int], set[object]]:
    """Find the items some of whose vectors are lost, and the fields with rows of no item."""
    lost: set[int] = set().union(*(state.damaged_items for state in states))
    stray: set[object] = set()
    with writer.environment.read() as transaction:
        snapshot = Snapshot(writer.environment, transaction)
        for state, wrong in check_rows(snapshot, states):
            lost.update(wrong.tolist())
            if any(snapshot.item(item_id) is None for item_id in wrong.tolist()):
                stray.add(state.info.name)
        lost = {item_id for item_id in lost if snapshot.item(item_id) is not None}
    return lost, stray


def _drop(writer: Writer, lost: list[int]) -> Iterator[str]:
    """Make tombstones of items; their names are what a person needs to add them again."""
    if not lost:
        return
    with writer.environment.read() as transaction:
        snapshot = Snapshot(writer.environment, transaction)
        found = [snapshot.item(item_id) for item_id in lost[:_NAMED_ITEMS]]
    writer.commit(Batch(removed=lost))
    for stored in found:
        if stored:
            yield f"dropped {stored.item.name}: vectors are lost; index {stored.item.source} again"
    if len(lost) > _NAMED_ITEMS:
        yield f"dropped {len(lost) - _NAMED_ITEMS} more items: index all sources again"


def _live_items(writer: Writer) -> NDArray[np.int64]:
    with writer.environment.read() as transaction:
        snapshot = Snapshot(writer.environment, transaction)
        return np.sort(np.fromiter((item_id for _, item_id in snapshot.keys()), np.int64))


def _mend(
    writer: Writer, state: FieldState, live: NDArray[np.int64], *, is_stray: bool
) -> Iterable[FieldInfo]:
    """Write what is sound of a field to new files, where anything is not."""
    plan = Plan.of(writer.manifest, writer.manifest.fields)
    if state.vectors or is_stray:

        def is_live(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.isin(ids >> CHUNK_BITS, live)

        sound = rewritten(writer, state.info, state.segments, is_live)
        return [with_recipe(writer, sound, plan)]
    info = state.info.without_banks() if state.nearness else state.info
    if state.codes:
        recipe = plan.recipe_of(info)
        info = with_codebook(writer, info, recipe if recipe != EXACT else info.recipe)
    return [] if info is state.info else [info]


def _account(state: FieldState, *, is_stray: bool) -> Iterator[str]:
    for name, what in state.vectors:
        yield f"{name}: {what}; wrote the sound vectors of {state.info.name} to a new file"
    for name, what in state.codes:
        yield f"{name}: {what}; encoded {state.info.name} anew from its vectors"
    for name, what in state.nearness:
        yield f"{name}: {what}; the next `mmsearch index` makes it anew"
    if is_stray and not state.vectors:
        yield f"{state.info.name}: removed vectors of items that have no record"
