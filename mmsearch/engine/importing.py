"""`Index.add_vectors`: embeddings that others have made become items of an index."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mmsearch.encode import Model
from mmsearch.engine.collector import collector_paused
from mmsearch.engine.hubs import keep_banks
from mmsearch.engine.imported import Block, own_name
from mmsearch.engine.ingest import Progress
from mmsearch.engine.report import Report
from mmsearch.engine.signals import uninterrupted
from mmsearch.records import Failure, item_key
from mmsearch.sources.manifest import RowNames
from mmsearch.sources.rows import RowError
from mmsearch.sources.vectors import Shard
from mmsearch.store.maintain import settle
from mmsearch.store.reader import Reader
from mmsearch.store.writer import Batch, Entry, Writer

T = TypeVar("T")
BLOCK_ROWS = 25_000
"""Rows of a commit: 50 MB of 512-d vectors as float32. A commit writes most pages of the databases
whose keys are hashes, so that few large ones write less."""


class Importer:
    """One run of `add_vectors`.

    Args:
        reader: Of the index.
        writer: Of the index.
        model: Of the index.
        progress: Called after each commit.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        model: Model,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._reader, self._writer, self._model = reader, writer, model
        self._progress = progress
        self._seen = 0
        self.report = Report()

    def run(self, sources: Mapping[str, Sequence[Shard]]) -> Report:
        """Take in all shards of some sources; Ctrl-C keeps what is committed."""
        started = time.monotonic()
        try:
            self._take_all(sources)
            settle(self._writer)
            keep_banks(self._writer, self._model)
        except KeyboardInterrupt:
            self.report.interrupted = True
        self.report.seconds = time.monotonic() - started
        return self.report

    def _take_all(self, sources: Mapping[str, Sequence[Shard]]) -> None:
        with collector_paused():
            for step in ahead(self._steps(sources)):
                with uninterrupted():
                    self._take(step)

    def _take(self, step: "_Step") -> None:
        if step.entries or step.removed:
            self._writer.commit(Batch(entries=step.entries, removed=step.removed))
        self.report.removed += len(step.removed)
        updated = sum(bool(entry.replaces) for entry in step.entries)
        self.report.updated += updated
        self.report.added += len(step.entries) - updated
        self.report.unchanged += step.unchanged
        self.report.failures.extend(step.failures)
        self._seen += len(step.entries) + step.unchanged + len(step.failures)
        if self._progress:
            failed = len(self.report.failures)
            self._progress(Progress(self._seen, self.report.indexed, failed))

    def _steps(self, sources: Mapping[str, Sequence[Shard]]) -> Iterator["_Step"]:
        for source, shards in sources.items():
            names, number = RowNames(), 0
            for shard in shards:
                mark = _fingerprint(shard, number)
                for vectors, rows in shard.blocks(BLOCK_ROWS):
                    block = Block(source, mark, str(shard.paths[0]), vectors, rows, self._model)
                    yield self._step(block, names, number)
                    number += len(rows)

    def _step(self, block: Block, names: RowNames, number: int) -> "_Step":
        """What is to be done about the rows of a block, of which ``number`` came before."""
        step = _Step()
        with self._reader.view() as view:
            for at, row in enumerate(block.rows):
                name = stored = None
                try:
                    name = names.claim(own_name(row), number + at + 1)
                    item_id = view.snapshot.item_id(item_key(block.source, name))
                    stored = None if item_id is None else view.snapshot.item(item_id)
                    if stored and stored.fingerprint == block.mark:
                        step.unchanged += 1
                        continue
                    entry = block.entry(at, name)
                except RowError as error:
                    row_name = name or str(number + at + 1)
                    step.failures.append(Failure(block.source, str(error), row_name))
                    step.removed += [stored.id] if stored else []
                    continue
                step.entries.append(replace(entry, replaces=(stored.id,)) if stored else entry)
        return step


@dataclass(slots=True)
class _Step:
    """What the next commit takes of a block of rows, and what it leaves."""

    entries: list[Entry] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    unchanged: int = 0
    failures: list[Failure] = field(default_factory=list)


def ahead(values: Iterator[T]) -> Iterator[T]:
    """The same values, each made in a thread of its own while the one before is used.

    SQLite, LMDB and NumPy leave Python's lock to others while they work.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="mmsearch-ahead") as pool:
        coming = pool.submit(next, values, None)
        while (value := coming.result()) is not None:
            coming = pool.submit(next, values, None)
            yield value


def _fingerprint(shard: Shard, number: int) -> str:
    """Hash what the names and vectors of a shard's rows hang on.

    Names, sizes and times of its files, what its vectors stand for, and how many rows come before.
    """
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in shard.paths]
    said = json.dumps([states, [*shard.modalities], number])
    return hashlib.sha256(said.encode()).hexdigest()
