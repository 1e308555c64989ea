"""Indexing: sources -> decode -> encode -> store, with bounded queues between the stages.

One thread finds items, several decode and preprocess them, and the caller's thread encodes and
commits. Memory is bounded by the queue and by the items that are under way, however many there are.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, Protocol, TypeAlias, TypeVar

from mmsearch.encode import Model
from mmsearch.encode.batching import Batching, input_bytes
from mmsearch.encode.compute import on_gpu
from mmsearch.engine.jobs import Job, Prepared, prepare
from mmsearch.engine.triage import Verdict
from mmsearch.records import FieldName

WORKERS = os.cpu_count() or 1
QUEUED_MESSAGES = 256
QUEUED_BYTES = 256 * 2**20
"""Of prepared chunks: 190 pictures of 336 px in float32, all 256 at the embedded model's size."""
_POLL_S = 0.2

Message: TypeAlias = Prepared | Job | Verdict | BaseException
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Judge(Protocol[T_contra]):
    """Decides what is to be encoded; called by several threads."""

    def judge(self, found: T_contra) -> Job | Verdict:
        """Decide before anything is read."""
        ...

    def look_inside(self, job: Job) -> Verdict | None:
        """Decide from the contents: None when the item is to be encoded or takes over vectors."""
        ...


class Cores:
    """Lets either the decoders or a network compute, where both would use the same cores.

    A matrix product takes as long as its slowest thread, which is the one beside a decoder.
    Finding and reading files goes on meanwhile.
    """

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    def wait(self) -> None:
        """Wait for the network's batch to be done."""
        self._free.wait()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Around a network's batch; a GPU needs no cores."""
        try:
            if not on_gpu():
                self._free.clear()
            yield
        finally:
            self._free.set()

    def release(self) -> None:
        """Let all go on, whatever an interrupt has left."""
        self._free.set()


class Room:
    """Bounds the bytes that wait in a queue; a chunk that is larger than all of it waits alone."""

    def __init__(self, size_bytes: int) -> None:
        self._free = self._all = size_bytes
        self._left = threading.Condition()

    def enter(self, size_bytes: int, timeout: float) -> bool:
        """Take room, or tell that there was none for so many seconds."""
        with self._left:
            wanted = min(size_bytes, self._all)
            if not self._left.wait_for(lambda: self._free >= wanted, timeout):
                return False
            self._free -= wanted
            return True

    def leave(self, size_bytes: int) -> None:
        """Give the room of a chunk back."""
        with self._left:
            self._free += min(size_bytes, self._all)
            self._left.notify_all()


class Pipeline(Generic[T]):
    """The stages before the encoder; iterate over it for their messages.

    Yields:
        :class:`Prepared` chunks; a :class:`Job` once all its chunks have been yielded; a
        :class:`Verdict` on whatever needs no encoding.
    """

    def __init__(self, found: Iterable[T], judge: Judge[T], model: Model, cores: Cores) -> None:
        self._found = found
        self._judge = judge
        self._model = model
        self._cores = cores
        self._messages: queue.Queue[Message | None] = queue.Queue(QUEUED_MESSAGES)
        self._room = Room(QUEUED_BYTES)
        self._under_way = threading.Semaphore(2 * WORKERS)
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Iterator[Message]]:
        """Run the stages; they are stopped and waited for on exit, however that comes."""
        feeder = threading.Thread(target=self._feed, name="mmsearch-sources", daemon=True)
        feeder.start()
        try:
            yield self._receive()
        finally:
            self._stopped.set()
            self._cores.release()
            feeder.join()

    def _receive(self) -> Iterator[Message]:
        while (message := self._messages.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            if isinstance(message, Prepared):
                self._room.leave(input_bytes(message.value))
            yield message

    def _feed(self) -> None:
        """Find items and hand them to the workers; ends the stream of messages."""
        try:
            with ThreadPoolExecutor(WORKERS, thread_name_prefix="mmsearch-decode") as pool:
                for found in self._found:
                    if not self._route(found, pool):
                        return
        except BaseException as error:  # a message like any other: raised where it is read
            self._put(error)
        finally:
            self._put(None)

    def _route(self, found: T, pool: ThreadPoolExecutor) -> bool:
        verdict = self._judge.judge(found)
        if not isinstance(verdict, Job):
            return self._put(verdict)
        while not self._under_way.acquire(timeout=_POLL_S):
            if self._stopped.is_set():
                return False
        pool.submit(self._work, verdict)
        return not self._stopped.is_set()

    def _work(self, job: Job) -> None:
        try:
            for message in self._decode(job):
                if not self._put(message):
                    return
        except BaseException as error:  # no file's fault: raised where messages are read
            self._put(error)
        finally:
            self._under_way.release()

    def _decode(self, job: Job) -> Iterator[Prepared | Job | Verdict]:
        verdict = self._judge.look_inside(job)
        if verdict is not None:
            yield verdict
            return
        if not job.reused:
            self._cores.wait()
            for prepared in prepare(job, self._model):
                yield prepared
                self._cores.wait()
        yield job

    def _put(self, message: Message | None) -> bool:
        """Queue a message; False when nobody reads any more."""
        size = input_bytes(message.value) if isinstance(message, Prepared) else 0
        while not self._room.enter(size, _POLL_S):
            if self._stopped.is_set():
                return False
        while not self._stopped.is_set():
            try:
                self._messages.put(message, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False


class Batcher:
    """Collects prepared chunks for each field and encodes them a batch at a time."""

    def __init__(self, model: Model, cores: Cores, finished: Callable[[Job], None]) -> None:
        self._model = model
        self._cores = cores
        self._finished = finished
        self._waiting: dict[FieldName, list[Prepared]] = {}
        self._encoders: dict[FieldName, Batching] = {}

    def add(self, prepared: Prepared) -> None:
        """Take a chunk; encode when the batch is full."""
        waiting = self._waiting.setdefault(prepared.name, [])
        waiting.append(prepared)
        prepared.job.missing += 1
        if len(waiting) >= self._encoder(prepared.name).size:
            self._encode(prepared.name)

    def close(self, job: Job) -> None:
        """Note that no more chunks of the job will come."""
        job.decoded = True
        if job.complete:
            self._finished(job)

    def flush(self) -> None:
        """Encode what waits."""
        for name in list(self._waiting):
            self._encode(name)

    def _encoder(self, name: FieldName) -> Batching:
        if name not in self._encoders:
            self._encoders[name] = Batching(self._model.encoder(name))
        return self._encoders[name]

    def _encode(self, name: FieldName) -> None:
        batch = self._waiting.pop(name)
        with self._cores.taken():
            vectors = self._encoder(name)([prepared.value for prepared in batch])
        for prepared, vector in zip(batch, vectors, strict=True):
            prepared.job.fill(name, prepared.row, vector)
            if prepared.job.complete:
                self._finished(prepared.job)
