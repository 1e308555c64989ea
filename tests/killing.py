"""Processes that are really killed. A fork server keeps their start cheap: it has imported
everything, has no threads and no index open.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from fakes import fake_model, newer_model
from numpy.typing import NDArray

import mmsearch
from mmsearch.engine import ingest, tuning
from mmsearch.engine.reencode import Reencoder
from mmsearch.store.writer import Batch, Writer

COMMIT_ITEMS = 3
MEMORY = Path("/dev/shm")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["killing", "mmsearch.engine.index"])


class Stage(IntEnum):
    """How far a child has come."""

    STARTING = 0
    BEFORE_FIRST_COMMIT = 1
    BETWEEN_COMMITS = 2
    COMMITTING = 3
    DONE = 4


@dataclass(frozen=True, slots=True)
class Death:
    """Where a child was when it was killed (``DONE``: it had finished).

    Attributes:
        stage: How far it was.
        indexed: Items that it had indexed in this run, committed or not.
        lasted_s: How long it lived once it had started.
    """

    stage: Stage
    indexed: int
    lasted_s: float


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: a kill loses what a process holds, not what the
    kernel does, and flushing files to a disk would take most of the time.
    """
    is_there = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(dir=MEMORY if is_there else None) as folder:
        yield Path(folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep FAISS from spinning on cores that others use."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def run_and_kill(work: Callable[..., None], *args: Any, after_s: float | None) -> Death:
    """Run ``work(log, *args)`` in a child; SIGKILL it after some time, or never.

    Raises:
        AssertionError: The child ended by itself with an error.
    """
    log = _new_log(args[0])
    child = _CONTEXT.Process(target=work, args=(log, *args))
    child.start()
    while child.is_alive() and _log(log)[0] == Stage.STARTING:
        time.sleep(0.002)  # nothing to be learnt from killing a process that starts
    started = time.monotonic()
    child.join(after_s)
    lasted_s = time.monotonic() - started
    child.kill()
    child.join()
    assert child.exitcode in (0, -9), f"the child ended with {child.exitcode}"
    stage, indexed = (int(value) for value in _log(log))
    return Death(Stage(stage), indexed, lasted_s)


def add_files(log: Path, folder: Path, sources: Path) -> None:
    """Index in a child."""
    ingest.COMMIT_ITEMS = COMMIT_ITEMS
    faiss.omp_set_num_threads(1)
    state = _log(log)
    _observe_commits(state)
    state[0] = Stage.BEFORE_FIRST_COMMIT
    with mmsearch.open(folder, model=fake_model()) as index:
        index.add(sources, progress=lambda progress: state.__setitem__(1, progress.indexed))
    state[0] = Stage.DONE


def compact_index(log: Path, folder: Path) -> None:
    """Compact in a child."""
    _log(log)[0] = Stage.BEFORE_FIRST_COMMIT
    faiss.omp_set_num_threads(1)
    with mmsearch.open(folder, model=fake_model()) as index:
        index.compact()
    _log(log)[0] = Stage.DONE


def repair_index(log: Path, folder: Path) -> None:
    """Repair in a child."""
    _log(log)[0] = Stage.BEFORE_FIRST_COMMIT
    faiss.omp_set_num_threads(1)
    mmsearch.repair(folder)
    _log(log)[0] = Stage.DONE


def reencode_index(log: Path, folder: Path) -> None:
    """Move an index to the newer model in a child."""
    ingest.COMMIT_ITEMS = COMMIT_ITEMS
    faiss.omp_set_num_threads(1)
    state = _log(log)
    _observe_commits(state)
    state[0] = Stage.BEFORE_FIRST_COMMIT
    with mmsearch.open(folder) as index:
        index.reencode(
            newer_model(), progress=lambda progress: state.__setitem__(1, progress.indexed)
        )
    state[0] = Stage.DONE


def swap_and_die(log: Path, folder: Path, at: int | str) -> None:
    """Move an index in a child that kills itself between the begin of the swap and the end."""
    with _death(log, Reencoder, "_swap", at):
        reencode_index(log, folder)


def tune_index(log: Path, folder: Path, ann_recall: float) -> None:
    """Tune in a child, by few queries, with a choice of codes."""
    tuning.QUERIES = tuning.LEAST_QUERIES
    faiss.omp_set_num_threads(1)
    _log(log)[0] = Stage.BEFORE_FIRST_COMMIT
    with mmsearch.open(folder, model=fake_model()) as index:
        index.tune(ann_recall, recipes=["IVF16,SQ8", "IVF16,PQ8"])
    _log(log)[0] = Stage.DONE


def tune_and_die(log: Path, folder: Path, ann_recall: float, at: int | str) -> None:
    """Tune in a child that kills itself between the end of the measuring and the end."""
    with _death(log, tuning, "keep_tunings", at):
        tune_index(log, folder, ann_recall)


@contextmanager
def _death(log: Path, owner: object, name: str, at: int | str) -> Iterator[None]:
    """Kill this process at a moment after a function has been called.

    Args:
        log: Gets the number of calls and returns from then on, if the end comes.
        owner: The class or module of the function.
        name: Its name.
        at: Which call or return, by number; or the name of the function whose first return it is.
    """
    numbers, function = count(), getattr(owner, name)

    def watch(frame: Any, event: str, _: object) -> None:
        is_named = event == "return" and frame.f_code.co_qualname == at
        if is_named or next(numbers) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*args: Any) -> None:
        sys.setprofile(watch)
        function(*args)

    setattr(owner, name, watched)
    yield
    sys.setprofile(None)
    _log(log)[1] = next(numbers)


def _observe_commits(state: NDArray[np.int64]) -> None:
    commit = Writer.commit

    def observed(writer: Writer, batch: Batch) -> None:
        state[0] = Stage.COMMITTING
        commit(writer, batch)
        state[0] = Stage.BETWEEN_COMMITS

    setattr(Writer, "commit", observed)  # noqa: B010 (mypy minds an assignment)


def _new_log(folder: Path) -> Path:
    log = folder.with_name(f"{folder.name}.log")
    log.write_bytes(bytes(16))
    return log


def _log(path: Path) -> NDArray[np.int64]:
    return np.memmap(path, np.int64, "r+")


def duration_s(work: Callable[..., None], *args: Any) -> float:
    """How long a child takes that is left alone."""
    death = run_and_kill(work, *args, after_s=None)
    assert death.stage is Stage.DONE
    return death.lasted_s


def run_apart(work: Callable[..., Any], *args: Any) -> Any:
    """Return what ``work`` returns in a child, because damaged files may end a process.

    Returns:
        None when the child raised one of our errors, or died.
    """
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    child = _CONTEXT.Process(target=_answer, args=(sender, work, args))
    child.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = None
    child.join()
    return answer


def _answer(sender: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        sender.send(work(*args))
    except mmsearch.MMSearchError:
        sender.send(None)
