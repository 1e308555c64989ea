"""`Index.add`: the main flow of indexing."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from mmsearch.encode import Model
from mmsearch.engine.hubs import keep_banks
from mmsearch.engine.ingest import Ingest, Progress
from mmsearch.engine.inputs import is_below
from mmsearch.engine.jobs import Job
from mmsearch.engine.report import Report
from mmsearch.engine.triage import Triage, is_gone
from mmsearch.records import Item, item_key
from mmsearch.sources import Found, can_hold_items
from mmsearch.store.maintain import settle
from mmsearch.store.metadata import StoredFailure
from mmsearch.store.reader import Reader
from mmsearch.store.writer import Writer


class Adder(Ingest[Found]):
    """One run of `add`."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        model: Model,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._reader = reader
        self._triage = Triage(reader)
        super().__init__(writer, model, self._triage, progress)

    def run(self, found: Iterable[Found], roots: Sequence[str], prune: bool) -> Report:
        """Index everything that is found.

        Ctrl-C ends the run: what is finished is committed, and the report says so.

        Args:
            found: Items, failures and ignored files.
            roots: Files, folders and manifests that ``found`` covers completely.
            prune: Whether to remove items below the roots whose source has vanished.
        """
        started = time.monotonic()
        try:
            self._ingest(found)
            self._commit()
            self._note_vanished(frozenset(roots), prune)
            settle(self._writer)
            keep_banks(self._writer, self._model)
        except KeyboardInterrupt:
            self.report.interrupted = True
            self._commit()
        self.report.seconds = time.monotonic() - started
        return self.report

    def _commit_midway(self) -> None:
        super()._commit_midway()
        settle(self._writer, large_only=True)

    def _commit(self) -> None:
        entries = self._batch.entries
        super()._commit()
        for entry in entries:
            self._triage.committed(entry.item.key)

    def _finish(self, job: Job) -> None:
        """Take an item that has all its vectors into the next commit."""
        self.report.failures.extend(job.failures)
        if job.vectors:
            self._batch.entries.append(job.entry())
            self._count(job)
        else:
            self._remember_failure(job)
        self._tell()

    def _count(self, job: Job) -> None:
        self.report.reused += job.reused
        if job.moved:
            self.report.moved += 1
        elif job.previous is not None:
            self.report.updated += 1
        else:
            self.report.added += 1

    def _remember_failure(self, job: Job) -> None:
        """Keep the reason, and drop the version in the index: its contents are gone."""
        stored = StoredFailure(job.failures[0], job.fingerprint)
        self._batch.failures.append((job.item.key, stored))
        self._triage.failing.add(job.item.key)
        if job.previous is not None:
            self._batch.removed.append(job.previous)

    def _note_vanished(self, roots: Set[str], prune: bool) -> None:
        """Find the items below the roots whose source is gone; forget failures of such sources."""
        if not any(map(can_hold_items, roots)):
            return  # a look at every item of the index would find nothing
        for item in self._unseen():
            if self._has_vanished(item.source, item.row, roots):
                if prune:
                    assert item.id is not None
                    self._batch.removed.append(item.id)
                    self.report.removed += 1
                else:
                    self.report.vanished.append(item.source)
        with self._reader.view() as view:
            for failure in (stored.failure for stored in view.snapshot.failures()):
                key = item_key(failure.source, failure.row)
                gone = self._has_vanished(failure.source, failure.row, roots)
                if gone and key not in self._triage.failing:
                    self._batch.forgotten.append(key)
        self._commit()

    def _has_vanished(self, source: str, row: str | None, roots: Set[str]) -> bool:
        """Whether something not met is gone: its file, or its row of a manifest that was read."""
        if not is_below(source, roots):
            return False
        was_read = row is not None and source in roots and source not in self._triage.broken
        return was_read or is_gone(source)

    def _unseen(self) -> Iterator[Item]:
        with self._reader.view() as view:
            for _, item_id in view.snapshot.keys():
                if item_id < self._triage.first_new_id and not self._triage.seen[item_id]:
                    stored = view.snapshot.item(item_id)
                    if stored:
                        yield stored.item
