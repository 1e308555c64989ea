"""Vector search beside bare FAISS: what the engine adds to time, memory and disk.

Run: ``python benchmarks/ann.py [--rows N] [--folder DIR]``; prints one table. A folder that holds
the vectors, or the index too, is measured as it is.

Vectors: ``clip_like.py``, or what ``crops.py`` has put into the folder. FAISS reads the very codes
that the index holds and looks into the same lists; its candidates are scored again in NumPy, on the
same float16 vectors.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar, cast

import clip_like
import faiss
import numpy as np
from machine import describe
from numpy.typing import NDArray

import mmsearch
from mmsearch import Modality, Model, Space
from mmsearch.records import FloatArray
from mmsearch.search.effort import FIRST_DEPTH as DEPTH
from mmsearch.search.effort import REACH, lists_to_probe
from mmsearch.store.codes import Codes
from mmsearch.store.exact import nearest
from mmsearch.store.field import read_all
from mmsearch.store.files import CheckedFile

SEED = 0
QUERIES = 1_000
ROUNDS = 3
K = 10
BLOCK_ROWS = 50_000
KINDS = ("text", "image")
Answer = TypeVar("Answer")


class Encoder:
    """Stands for a model that has embedded everything elsewhere."""

    modality = Modality.IMAGE

    def __init__(self, folder: Path) -> None:
        """Of the vectors in a folder."""
        self.space = Space("visual", base_of(folder).shape[1], True, "benchmark", "0" * 64)


def model_of(folder: Path) -> Model:
    """The model of the index in a folder."""
    return Model("benchmark", (Encoder(folder),))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Timing:
    """Seconds of each query alone, (n,), and of all of them as a batch."""

    single: FloatArray
    batch: float


def base_of(folder: Path) -> NDArray[np.float16]:
    """Return (rows, dim) float16: what is searched."""
    base: NDArray[np.float16] = np.load(folder / "base.npy", mmap_mode="r")
    return base


def queries(folder: Path, kind: str) -> FloatArray:
    """Return (n, dim) float32 query vectors of a kind."""
    asked: FloatArray = np.load(folder / f"{kind}.npy")
    return asked


def prepare(folder: Path, rows: int) -> None:
    """Write vectors, queries and an index of them, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"{KINDS[-1]}.npy").exists():
        draw_vectors(folder, rows, SEED)
    if not (folder / "index").exists():
        with mmsearch.create(folder / "index", model=model_of(folder)) as index:
            index.add_vectors(folder / "base.npy")


def draw_vectors(folder: Path, rows: int, seed: int) -> None:
    """Write CLIP-like vectors and queries to files."""
    clip_like.write_images(folder / "base.npy", seed, rows)
    world = clip_like.make_world(seed)
    for number, draw in enumerate((world.texts, world.images)):
        rng = np.random.default_rng((seed, 10**6, number))
        np.save(folder / f"{KINDS[number]}.npy", draw(rng, QUERIES))


def exact(base: NDArray[np.float16], asked: FloatArray) -> NDArray[np.int64]:
    """Return the rows of the K best for each query, (n, K), by scoring all."""

    def blocks() -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        for at in range(0, len(base), BLOCK_ROWS):
            block = base[at : at + BLOCK_ROWS].astype(np.float32)
            yield np.arange(at, at + len(block)), block

    return nearest(asked, blocks(), K)


def agreement(folder: Path) -> dict[str, float]:
    """Return ann_recall_at_10 for each kind of query: the share of the exact answers found."""
    found = {}
    with mmsearch.open(folder / "index", model=model_of(folder)) as index:
        for kind in KINDS:
            answers = index.search_many(vectors=queries(folder, kind), target="image", k=K)
            rows = [{int(hit.item.row or 0) - 1 for hit in hits} for hits in answers]
            wanted = exact(base_of(folder), queries(folder, kind))
            shared = [len(a & set(b)) for a, b in zip(rows, wanted.tolist(), strict=True)]
            found[kind] = sum(shared) / (K * len(shared))
    return found


class BareFaiss:
    """FAISS with the codes of an index, and NumPy for exact scores on the same float16 vectors."""

    def __init__(self, folder: Path) -> None:
        """Load codebook and codes; FAISS's ids are row numbers."""
        self._base = base_of(folder)
        with (
            mmsearch.open(folder / "index", model=model_of(folder)) as index,
            index._reader.view() as view,
        ):
            info = next(iter(view.state.fields.values())).info
            self.recipe = info.recipe
            segments = [Codes(index.path, s.codes) for s in info.segments if s.codes]
            codebook = read_all(CheckedFile(index.path, info.codebook)) if info.codebook else None
        self._index: Any = faiss.deserialize_index(np.array(codebook))
        self._ivf: Any = faiss.extract_index_ivf(self._index)
        self.code_bytes = self._ivf.code_size
        chain: Any = getattr(self._index, "chain", None)
        self._rotations = [chain.at(at) for at in range(chain.size())] if chain else []
        first, inverted = 0, cast("Any", self._ivf.invlists)
        for segment in segments:
            for number, codes, rows in segment.lists():
                ids = rows + first
                pointers = faiss.swig_ptr(ids), faiss.swig_ptr(codes)
                inverted.add_entries(number, len(ids), *pointers)
            first += segment.rows
        self._ivf.ntotal = first
        lists: Any = faiss.downcast_index(self._ivf)
        if lists.pq.nbits == 4:  # codes that FAISS scans in registers
            lists = faiss.IndexIVFPQFastScan(lists)
        self._lists = lists
        self.nprobe = self._lists.nprobe = lists_to_probe(self._ivf.nlist, across=True)
        centroids = self._ivf.quantizer.reconstruct_n(0, self._ivf.nlist)
        self._squares = np.square(centroids).sum(axis=1)

    def search(self, query: FloatArray) -> NDArray[np.int64]:
        """Return the rows of the K best, of ``DEPTH`` candidates."""
        return self._best(query, self._proposed(query[None])[0])

    def search_many(self, asked: FloatArray) -> list[NDArray[np.int64]]:
        """Return the same for many queries, on all cores."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._best, asked, self._proposed(asked)))

    def _proposed(self, asked: FloatArray) -> NDArray[np.int64]:
        """Return the rows that the codes propose, of the lists that are nearest by distance."""
        for rotation in self._rotations:
            asked = rotation.apply(asked)
        stretch = np.float32(1 / (2 * REACH))
        distances, lists = self._ivf.quantizer.search(stretch * asked, self.nprobe)
        products = (stretch**2 + self._squares[lists] - distances) / (2 * stretch)
        found: NDArray[np.int64] = self._lists.search_preassigned(asked, DEPTH, lists, products)[1]
        return found

    def _best(self, query: FloatArray, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        scores = self._base[rows].astype(np.float32) @ query
        best: NDArray[np.int64] = rows[np.argsort(-scores)[:K]]
        return best


def timings(folder: Path) -> tuple[Timing, Timing]:
    """Return how long bare FAISS takes, and mmsearch: in turns, after a round that warms up."""
    asked = queries(folder, "text")
    bare = BareFaiss(folder)
    with mmsearch.open(folder / "index", model=model_of(folder)) as index:

        def ours(query: FloatArray) -> object:
            return index.search(vector=query, target="image", k=K)

        def ours_many(asked: FloatArray) -> object:
            return index.search_many(vectors=asked, target="image", k=K)

        rounds = [
            [(clock(one, asked), clock(many, [asked])) for one, many in pairs]
            for pairs in [((bare.search, bare.search_many), (ours, ours_many))] * (1 + ROUNDS)
        ]
    theirs, mine = (
        Timing(np.concatenate([single for single, _ in side]), min(batch[0] for _, batch in side))
        for side in zip(*rounds[1:], strict=True)
    )
    return theirs, mine


def clock(function: Callable[[FloatArray], object], calls: Iterable[FloatArray]) -> FloatArray:
    """Return the seconds of each call."""
    seconds = []
    for asked in calls:
        started = time.perf_counter()
        function(asked)
        seconds.append(time.perf_counter() - started)
    return np.array(seconds, np.float32)


def opening(folder: Path) -> tuple[float, float, float]:
    """Return seconds to open, seconds of the first search, and bytes of memory after 100."""
    asked = queries(folder, "text")[:100]
    before = private_bytes()
    started = time.perf_counter()
    index = mmsearch.open(folder / "index", model=model_of(folder))
    opened = time.perf_counter()
    index.search(vector=asked[0], target="image")
    searched = time.perf_counter()
    for query in asked:
        index.search(vector=query, target="image")
    return opened - started, searched - opened, private_bytes() - before


def private_bytes(process: int | str = "self") -> int:
    """Return the memory of a process that is no mapped file; 0 once it has ended."""
    status = Path(f"/proc/{process}/status").read_text()
    _, found, rest = status.partition("RssAnon:")
    return 1024 * int(rest.split()[0]) if found else 0


def fresh(function: Callable[[Path], Answer], folder: Path) -> Answer:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, folder).result()


def disk(folder: Path) -> tuple[int, int]:
    """Return the bytes of the files of vectors and codes, and of the whole index."""
    sizes = {path: path.stat().st_size for path in (folder / "index").iterdir()}
    kinds = (".vectors", ".codes", ".codebook")
    return sum(n for path, n in sizes.items() if path.suffix in kinds), sum(sizes.values())


def figures(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table."""
    rows, dim = base_of(folder).shape
    bare = BareFaiss(folder)
    yield "recipe, lists probed, candidates", f"{bare.recipe}, {bare.nprobe}, {DEPTH}"
    for kind, found in fresh(agreement, folder).items():
        yield f"ann_recall_at_10, {kind}-like queries", f"{found:.3f}"
    theirs, mine = fresh(timings, folder)
    for name, timing in (("bare FAISS", theirs), ("mmsearch", mine)):
        p50, p99 = np.percentile(timing.single, (50, 99)) * 1e3
        yield f"{name}: one query, p50 / p99", f"{p50:.2f} / {p99:.2f} ms"
        yield f"{name}: a batch of {QUERIES:,}", f"{QUERIES / timing.batch:,.0f} queries/s"
    single = np.median(mine.single) / np.median(theirs.single)
    yield (
        "time as a multiple of bare FAISS, one / batch",
        (f"{single:.2f} / {mine.batch / theirs.batch:.2f}"),
    )
    opened, first, memory = fresh(opening, folder)
    yield "open / first search", f"{opened:.2f} / {first:.2f} s"
    yield "memory beyond FAISS's codes", f"{memory / rows - bare.code_bytes:.0f} bytes a vector"
    files, whole = disk(folder)
    least = rows * (bare.code_bytes + 2 * dim)
    yield "disk: vectors and codes, as a multiple of their bare bytes", f"{files / least:.3f}"
    yield "disk: all", f"{whole / rows:,.0f} bytes a vector"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="for vectors and index; a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = arguments.folder or Path(temporary)
        prepare(folder, arguments.rows)
        for what, figure in figures(folder):
            print(f"| {what} | {figure} |", flush=True)
    print(describe())


if __name__ == "__main__":
    main()
