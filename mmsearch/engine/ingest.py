"""Encoding what a pipeline yields, commit by commit: what `add` and `reencode` have in common."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmsearch.decode import quiet_pillow
from mmsearch.encode import Model
from mmsearch.engine.jobs import Job, Prepared
from mmsearch.engine.pipeline import Batcher, Cores, Judge, Message, Pipeline
from mmsearch.engine.report import Report
from mmsearch.engine.signals import uninterrupted
from mmsearch.engine.triage import Outcome, Verdict
from mmsearch.store.writer import Batch, Writer

COMMIT_ITEMS = 1000
COMMIT_S = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an `add` or a `reencode` has come.

    Attributes:
        seen: Items judged so far.
        indexed: Of these, items encoded and stored or about to be.
        failed: Of these, items with a failure.
    """

    seen: int
    indexed: int
    failed: int


class Ingest(ABC, Generic[T]):
    """Takes messages from the pipeline, encodes, commits, reports."""

    def __init__(
        self,
        writer: Writer,
        model: Model,
        judge: Judge[T],
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._writer = writer
        self._model = model
        self._judge = judge
        self._progress = progress
        self._cores = Cores()
        self._batcher = Batcher(model, self._cores, self._finish)
        self._batch = Batch()
        self._committed_s = time.monotonic()
        self.report = Report()
        self._seen = 0

    @abstractmethod
    def _finish(self, job: Job) -> None:
        """Decide on an item that has all the vectors it will get."""

    def _ingest(self, found: Iterable[T]) -> None:
        """Encode everything that is found; its last part waits for a commit."""
        pipeline = Pipeline(found, self._judge, self._model, self._cores)
        with quiet_pillow(), pipeline.running() as messages:
            for message in messages:
                self._take(message)
                if self._is_due():
                    self._commit_midway()

    def _take(self, message: Message) -> None:
        if isinstance(message, Prepared):
            self._batcher.add(message)
        elif isinstance(message, Job):
            self._batcher.close(message)
        elif isinstance(message, Verdict):
            self._note(message)

    def _note(self, verdict: Verdict) -> None:
        match verdict.outcome:
            case Outcome.IGNORED:
                self.report.ignored[verdict.suffix] += 1
                return
            case Outcome.DUPLICATE:
                return
            case Outcome.FAILED if verdict.failure:
                self.report.failures.append(verdict.failure)
            case Outcome.TOUCHED if verdict.stored:
                self._batch.touched.append(verdict.stored)
                self.report.unchanged += 1
            case Outcome.UNCHANGED:
                self.report.unchanged += 1
        self._tell()

    def _tell(self) -> None:
        self._seen += 1
        if self._progress:
            self._progress(Progress(self._seen, self.report.indexed, len(self.report.failures)))

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._committed_s > COMMIT_S
        if waited:
            self._batcher.flush()
        return waited or len(self._batch.entries) >= COMMIT_ITEMS

    def _commit_midway(self) -> None:
        """Commit while items are still coming in."""
        self._commit()

    def _commit(self) -> None:
        self._batcher.flush()
        with uninterrupted():
            if self._batch:
                self._writer.commit(self._batch)
            self._batch = Batch()
        self._committed_s = time.monotonic()
