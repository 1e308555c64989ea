"""Deciding what is new, changed, moved, copied, unchanged or hopeless, before any decoding."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mmsearch.engine.fingerprint import contents, fingerprint, same_record
from mmsearch.engine.jobs import Job
from mmsearch.engine.twins import find_twins, take_over
from mmsearch.records import Failure, Item, item_key
from mmsearch.sources import Ignored
from mmsearch.store.metadata import StoredItem
from mmsearch.store.reader import Reader


class Outcome(StrEnum):
    """What became of something that needs no encoding."""

    UNCHANGED = "unchanged"
    TOUCHED = "touched"
    FAILED = "failed"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision that ends an item's way.

    Attributes:
        outcome: The decision.
        failure: Why, for ``FAILED``.
        suffix: The file's suffix, for ``IGNORED``.
        stored: The item with its new fingerprint, for ``TOUCHED``.
    """

    outcome: Outcome
    failure: Failure | None = None
    suffix: str = ""
    stored: StoredItem | None = None


class Triage:
    """Judges items against the index as it was committed last; used by several threads.

    Attributes:
        seen: For each item id of the index before the run, whether its source was met again.
        failing: Keys of what failed, in this run or before.
        broken: Files and folders that could not be read: what they held is not known to be gone.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._pending: set[bytes] = set()
        self._claimed: set[int] = set()
        self.failing: set[bytes] = set()
        self.broken: set[str] = set()
        with reader.view() as view:
            self.first_new_id = view.manifest.next_item_id
        self.seen = bytearray(self.first_new_id)

    def judge(self, found: Item | Failure | Ignored) -> Job | Verdict:
        """Decide from names and times alone."""
        if isinstance(found, Ignored):
            return Verdict(Outcome.IGNORED, suffix=found.suffix)
        if isinstance(found, Failure):
            if found.row is None:
                self.broken.add(found.source)
            self._meet(item_key(found.source, found.row))
            return Verdict(Outcome.FAILED, failure=found)
        return self._judge_item(found)

    def _judge_item(self, item: Item) -> Job | Verdict:
        key = item.key
        if self._is_pending(key) or not self._meet(key):
            return Verdict(Outcome.DUPLICATE)
        mark = fingerprint(item)
        with self._reader.view() as view:
            item_id = view.snapshot.item_id(key)
            stored = view.snapshot.item(item_id) if item_id is not None else None
            known = view.snapshot.failure(key)
        if stored and mark and stored.fingerprint == mark:
            return Verdict(Outcome.UNCHANGED)
        if known and mark and known.fingerprint == mark:
            self.failing.add(key)
            return Verdict(Outcome.FAILED, known.failure)
        with self._lock:
            self._pending.add(key)
        return Job(item, mark, previous=stored.id if stored else None)

    def _is_pending(self, key: bytes) -> bool:
        """Whether an item is under way. What is not, `_meet` finds if it was: ask in this order."""
        with self._lock:
            return key in self._pending or key in self.failing

    def _meet(self, key: bytes) -> bool:
        """Note that an item is still there; False when this run has met it before."""
        with self._reader.view() as view:
            item_id = view.snapshot.item_id(key)
        if item_id is None:
            return True
        if item_id >= self.first_new_id or self.seen[item_id]:
            return False
        self.seen[item_id] = True
        return True

    def committed(self, key: bytes) -> None:
        """Note that an item that was under way is in the index now."""
        with self._lock:
            self._pending.discard(key)

    def look_inside(self, job: Job) -> Verdict | None:
        """Decide from the contents: None when the item is to be encoded or takes over vectors."""
        job.contents = contents(job.item)
        with self._reader.view() as view:
            stored = view.snapshot.item(job.previous) if job.previous is not None else None
            if stored and stored.contents == job.contents and same_record(stored.item, job.item):
                self.committed(job.item.key)
                if not job.fingerprint:  # changed a moment ago: nothing to remember it by
                    return Verdict(Outcome.UNCHANGED)
                touched = StoredItem(stored.item, stored.chunks, job.fingerprint, job.contents)
                return Verdict(Outcome.TOUCHED, stored=touched)
            if stored:
                job.replaces.append(stored.id)
            if twins := find_twins(job, view):
                self._take_place(job, twins)
                take_over(job, twins[0], view)
        return None

    def _take_place(self, job: Job, twins: Sequence[StoredItem]) -> None:
        """Replace the first of some equal items whose file has gone."""
        for twin in twins:
            if twin.id != job.previous and _is_vanished_file(twin.item) and self._claim(twin.id):
                job.moved = True
                job.replaces.append(twin.id)
                return

    def _claim(self, item_id: int) -> bool:
        """Whether nobody else has taken the place of an item."""
        with self._lock:
            fresh = item_id not in self._claimed
            self._claimed.add(item_id)
            return fresh


def _is_vanished_file(item: Item) -> bool:
    return item.row is None and item.parts[0].path == item.source and is_gone(item.source)


def is_gone(path: str) -> bool:
    """Whether a file is not there any more; one that cannot be looked at may be."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
