"""What a process does for one peer: build its index, sweep its settings, time them, weigh it.

It runs in the peer's own environment, which holds the peer, what the peer needs, and NumPy. What
it finds goes to a file, because libraries print.

The folder of the vectors holds ``vectors/base.npy`` (float16, L2-normalised rows), and for text-
and image-like queries ``KIND.npy`` (float32) and ``KIND_truth.npy`` (rows of the exact nearest).
"""

import argparse
import json
import resource
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
RowArray: TypeAlias = NDArray[np.int64]
Setting: TypeAlias = dict[str, Any]
"""The knobs of a search, by the names that the engine gives them."""

K = 10
ENOUGH = 0.99
"""An ann_recall_at_10 of text-like queries beyond which a knob is not turned further."""
LEAST_GAIN = 0.0005
"""Nor when its last turn has gained no more: bytes and codes bound what can be found."""
ROUNDS, LONG_S = 3, 10.0
"""There are fewer rounds where they take longer than so."""
SINGLE = 300
"""Queries of a round that are asked one after another."""
_BLOCK_ROWS = 50_000


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        recipe: How, in the engine's words.
        own: The setting that the engine chooses itself, if it does.
        tuning_s: How long it took to choose, where that is a step of its own.
    """

    recipe: str
    own: Setting | None = None
    tuning_s: float = 0.0


class Peer(ABC):
    """One engine, under one of its recipes.

    Args:
        data: The folder of the vectors.
        variant: Which recipe, where there are several.
        cores: How many threads may work.
    """

    def __init__(self, data: Path, variant: str, cores: int) -> None:
        self.data, self.variant, self.cores = data, variant, cores

    @abstractmethod
    def build(self, folder: Path) -> Built:
        """Write the index to a folder that is there and empty."""

    @abstractmethod
    def open(self, folder: Path) -> None:
        """Open the index as a program would that serves queries."""

    @abstractmethod
    def curves(self) -> list[list[Setting]]:
        """Return the settings to try; within a list each finds more than the one before."""

    @abstractmethod
    def set(self, setting: Setting) -> None:
        """Search with these knobs from now on."""

    @abstractmethod
    def one(self, query: FloatArray) -> Any:
        """Search for one (dim,) query on one thread; return what the engine returns."""

    @abstractmethod
    def many(self, queries: FloatArray) -> Any:
        """Search for (n, dim) queries on all cores; return what the engine returns."""

    @abstractmethod
    def rows(self, answers: Any) -> RowArray:
        """Return the row numbers in the answers to many queries, (n, 10)."""

    def base(self) -> NDArray[np.float16]:
        """Return the vectors, mapped."""
        return np.load(self.data / "vectors" / "base.npy", mmap_mode="r")  # type: ignore[no-any-return]

    def blocks(self) -> Iterator[tuple[RowArray, FloatArray]]:
        """Yield the vectors with their row numbers, as float32, a part at a time."""
        base = self.base()
        for start in range(0, len(base), _BLOCK_ROWS):
            block = base[start : start + _BLOCK_ROWS].astype(np.float32)
            yield np.arange(start, start + len(block)), block

    def queries(self, kind: str) -> FloatArray:
        """Return the (n, dim) queries of a kind."""
        return np.load(self.data / f"{kind}.npy")  # type: ignore[no-any-return]

    def agreement(self, kind: str, answers: Any) -> float:
        """Return ann_recall_at_10: the mean share of the 10 exact nearest that is found."""
        truth = np.load(self.data / f"{kind}_truth.npy")
        found = self.rows(answers)
        shared = [len({*a} & {*b}) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
        return sum(shared) / (K * len(shared))


def build(peer: Peer, folder: Path, _: Any) -> dict[str, Any]:
    """Build, and say what it took."""
    started = time.perf_counter()
    built = peer.build(folder)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return asdict(built) | {
        "build_s": seconds,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_bytes": 1024 * used.ru_maxrss,
        "disk_bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }


def sweep(peer: Peer, folder: Path, own: Setting | None) -> list[dict[str, Any]]:
    """Turn the knobs: what each setting finds, and how many queries a batch answers in a second."""
    peer.open(folder)
    points: list[dict[str, Any]] = []
    for curve in [[own] if own else [], *peer.curves()]:
        last = 0.0
        for setting in curve:
            if any(point["setting"] == setting for point in points):
                continue
            peer.set(setting)
            answers = {kind: peer.many(peer.queries(kind)) for kind in ("text", "image")}
            found = {kind: peer.agreement(kind, answers[kind]) for kind in answers}
            rate = per_second(peer.many, [peer.queries("text")])
            points.append({"setting": setting, "batch": rate, **found})
            if found["text"] >= ENOUGH or found["text"] - last < LEAST_GAIN:
                break
            last = found["text"]
    return points


def single(peer: Peer, folder: Path, settings: list[Setting]) -> list[float]:
    """Return for each setting how many queries a second are answered one after another."""
    peer.open(folder)
    asked = peer.queries("text")[:SINGLE]
    found = []
    for setting in settings:
        peer.set(setting)
        for query in asked[: SINGLE // 10]:
            peer.one(query)
        found.append(per_second(peer.one, list(asked)))
    return found


def per_second(search: Callable[[FloatArray], Any], calls: Sequence[FloatArray]) -> float:
    """Return the queries of all calls per second, the median of the rounds."""
    seconds: list[float] = []
    while len(seconds) < ROUNDS and sum(seconds) < LONG_S:
        started = time.perf_counter()
        for asked in calls:
            search(asked)
        seconds.append(time.perf_counter() - started)
    queries = sum(len(np.atleast_2d(asked)) for asked in calls)
    return queries / statistics.median(seconds)


def weigh(peer: Peer, folder: Path, setting: Setting) -> dict[str, int]:
    """Return the memory that serving adds to a process that has loaded the libraries.

    From before the index is opened until every text-like query was asked once. Mapped pages that
    the searches have touched count as resident, and not as private: the system takes them back when
    it needs them, as it does the page cache of an engine that reads files instead of mapping them.
    """
    asked = peer.queries("text")
    before = memory()
    peer.open(folder)
    peer.set(setting)
    for query in asked:
        peer.one(query)
    return {name: bytes_now - before[name] for name, bytes_now in memory().items()}


def memory() -> dict[str, int]:
    """Return the bytes of this process that are in memory: all, and those that no file holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: 1024 * int(size.split()[0]) for name, size in (x.split(":") for x in lines)}
    return {"resident_bytes": sizes["Rss"], "private_bytes": sizes["Anonymous"]}


def main(kind: type[Peer]) -> None:
    """Do one job, as ``peers.py`` asks for it."""
    jobs: dict[str, Callable[[Peer, Path, Any], Any]] = {
        job.__name__: job for job in (build, sweep, single, weigh)
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=jobs)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of the index")
    parser.add_argument("--variant", required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--given", type=json.loads, required=True, help="what the job is about")
    parser.add_argument("--answer", type=Path, required=True, help="a file for what is found")
    asked = parser.parse_args()
    peer = kind(asked.data, asked.variant, asked.cores)
    asked.answer.write_text(json.dumps(jobs[asked.job](peer, asked.folder, asked.given)))
