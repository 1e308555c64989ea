"""Filling the staging index of `Index.reencode`: the items of an index under another model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

from mmsearch.closing import Closing
from mmsearch.encode import Model
from mmsearch.engine.fingerprint import contents, same_record
from mmsearch.engine.ingest import Ingest, Progress
from mmsearch.engine.jobs import Job
from mmsearch.engine.triage import Outcome, Verdict
from mmsearch.engine.twins import find_twins, take_over
from mmsearch.records import Chunk, Part
from mmsearch.store.batches import batches
from mmsearch.store.metadata import StoredItem
from mmsearch.store.reader import Reader
from mmsearch.store.writer import Writer

_READ_ITEMS = 1000


class Comparison:
    """Judges the items of an index against those that are staged already."""

    def __init__(self, old: Reader, staged: Reader) -> None:
        self._old = old
        self._staged = staged

    def judge(self, found: StoredItem) -> Job | Verdict:
        """Decide from the records alone."""
        with self._staged.view() as view:
            item_id = view.snapshot.item_id(found.item.key)
            staged = view.snapshot.item(item_id) if item_id is not None else None
        if staged and staged.contents == found.contents and _stands_for(staged, found):
            return Verdict(Outcome.UNCHANGED)
        return Job(found.item, found.fingerprint, previous=staged.id if staged else None)

    def look_inside(self, job: Job) -> Verdict | None:
        """Decide from the contents: a file may have changed since it was indexed."""
        job.contents = contents(job.item)
        old = self.old_item(job)
        with self._staged.view() as view:
            staged = view.snapshot.item(job.previous) if job.previous is not None else None
            if staged and staged.contents == job.contents and old and _stands_for(staged, old):
                return Verdict(Outcome.UNCHANGED)
            if staged:
                job.replaces.append(staged.id)
            if twins := find_twins(job, view):
                take_over(job, twins[0], view)
        return None

    def old_item(self, job: Job) -> StoredItem | None:
        """Return the item that is encoded anew, unless it has been removed meanwhile."""
        assert job.item.id is not None
        with self._old.view() as view:
            return view.snapshot.item(job.item.id)


def _stands_for(staged: StoredItem, old: StoredItem) -> bool:
    return same_record(staged.item, old.item) and not lost_parts(old, staged.chunks)


def lost_parts(old: StoredItem, chunks: Sequence[Sequence[Chunk]]) -> list[Part]:
    """Return the parts that had vectors and have none with these chunks."""
    parts = zip(old.item.parts, old.chunks, chunks, strict=True)
    return [part for part, before, now in parts if before and not now]


class Stager(Ingest[StoredItem], Closing):
    """Brings a staging index in line with the index around it; a context manager.

    What would be lost is not staged unless that is asked for: it is tried again each time.

    Attributes:
        staged: The staging index.
    """

    def __init__(
        self,
        old: Reader,
        writer: Writer,
        model: Model,
        *,
        drop_missing: bool,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        """Take over the writer of the staging index: it is closed with this object."""
        with ExitStack() as opened:
            opened.callback(writer.close)
            self.staged = opened.enter_context(closing(Reader(writer.folder)))
            self._opened = opened.pop_all()
        self._old = old
        self._drop_missing = drop_missing
        self._comparison = Comparison(old, self.staged)
        self._missing: set[int] = set()
        self._next_item_id = 0
        super().__init__(writer, model, self._comparison, progress)

    def catch_up(self) -> None:
        """Encode what is new since the last time; ids are never reused, so a bound tells."""
        with self._old.view() as view:
            known = (item_id for _, item_id in view.snapshot.keys())
            new = sorted(item_id for item_id in known if item_id >= self._next_item_id)
            self._next_item_id = view.manifest.next_item_id
        self._ingest(_items(self._old, new))
        self._commit()
        self._count_missing()

    def drop_removed(self) -> None:
        """Remove staged items that are in the index around no more."""
        with self.staged.view() as staged, self._old.view() as old:
            keys = staged.snapshot.keys()
            removed = [item_id for key, item_id in keys if old.snapshot.item_id(key) is None]
        self._batch.removed.extend(removed)
        self._commit()

    def stop(self) -> None:
        """Commit what is finished, after Ctrl-C."""
        self.report.interrupted = True
        self._commit()

    def close(self) -> None:
        """Release the staging index; closing again does nothing."""
        self._opened.close()

    def _count_missing(self) -> None:
        with self._old.view() as view:
            there = [item_id for item_id in self._missing if view.snapshot.item(item_id)]
        self.report.missing = len(there)

    def _finish(self, job: Job) -> None:
        is_lossy = self._note_losses(job)
        self.report.failures.extend(job.failures)
        if job.vectors and (self._drop_missing or not is_lossy):
            self._batch.entries.append(job.entry())
            self.report.updated += 1
            self.report.reused += job.reused
        elif self._drop_missing:
            self._batch.removed.extend(job.replaces)
            self.report.removed += 1
        else:
            assert job.item.id is not None
            self._missing.add(job.item.id)
        self._tell()

    def _note_losses(self, job: Job) -> bool:
        """Whether an item would lose vectors; each such part is among its failures then."""
        old = self._comparison.old_item(job)
        lost = lost_parts(old, job.chunks) if old else []
        for part in lost:
            if job.vectors and not self._model.fields(part.modality):  # else it is said already
                job.fail(f"{part.path or part.role}: this model has no vectors for {part.modality}")
        return bool(lost) or not job.vectors


def _items(reader: Reader, ids: Sequence[int]) -> Iterator[StoredItem]:
    """Read items, some at a time: a long transaction would keep LMDB from reusing pages."""
    for some in batches(ids, _READ_ITEMS):
        with reader.view() as view:
            found = [view.snapshot.item(item_id) for item_id in some]
        yield from (stored for stored in found if stored)
