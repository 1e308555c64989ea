"""Writing to a large index beside searches: adding, removing, compacting.

Run: ``python benchmarks/writing.py [--rows N] [--folder DIR]``; prints one table. Vectors are those
of ``ann.py``; a folder may hold them, and their index, which stays as it is: a copy is written to.

One process writes, another one asks text-like queries all the time: the median and the slowest of
them, of which one is the first to see the commit.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from ann import KINDS, SEED, K, model_of, prepare, queries
from clip_like import make_world
from machine import describe

import mmsearch

ADDED = 1_000
QUIET = 200
"""Queries while nobody writes."""


def add(folder: Path, number: int) -> float:
    """Add vectors that are new; returns the seconds that it takes."""
    file = folder / f"{number}.npy"
    rng = np.random.default_rng((SEED, 10**7, number))
    np.save(file, make_world(SEED).images(rng, ADDED).astype(np.float16))
    return timed(folder, lambda index: index.add_vectors(file))


def remove(folder: Path, number: int) -> float:
    """Remove what was added."""
    return timed(folder, lambda index: index.remove(folder / f"{number}.npy"))


def compact(folder: Path) -> float:
    """Merge segments, drop what was removed, train anew."""
    return timed(folder, mmsearch.Index.compact)


def timed(folder: Path, work: Callable[[mmsearch.Index], object]) -> float:
    """Return the seconds of some work, opening and closing included."""
    started = time.perf_counter()
    with mmsearch.open(folder / "index", model=model_of(folder)) as index:
        work(index)
    return time.perf_counter() - started


def rows(folder: Path, writer: ProcessPoolExecutor) -> None:
    """Measure each kind of work, and print a row."""
    asked = cycle(queries(folder, "text"))
    with mmsearch.open(folder / "index", model=model_of(folder)) as index:

        def ask() -> float:
            started = time.perf_counter()
            index.search(vector=next(asked), target="image", k=K)
            return 1e3 * (time.perf_counter() - started)

        ask()
        quiet = [ask() for _ in range(QUIET)]
        print(f"| nothing | | {np.median(quiet):.1f} / {max(quiet):.1f} ms |", flush=True)
        works = {f"add {ADDED:,}": partial(add, folder, 0), "again": partial(add, folder, 1)}
        works |= {f"remove {ADDED:,}": partial(remove, folder, 0)}
        works |= {"compact": partial(compact, folder)}
        for name, work in works.items():
            running, meanwhile = writer.submit(work), list[float]()
            while not running.done():
                meanwhile.append(ask())
            meanwhile.append(ask())
            times = f"{np.median(meanwhile):.1f} / {max(meanwhile):.1f} ms"
            print(f"| {name} | {running.result():.1f} s | {times} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="for vectors and index; a temporary one")
    arguments = parser.parse_args()
    print("| work | seconds | queries meanwhile, median / slowest |\n|---|---|---|")
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        source = arguments.folder or folder / "source"
        prepare(source, arguments.rows)
        shutil.copytree(source / "index", folder / "index")
        for name in ("base", *KINDS):
            (folder / f"{name}.npy").hardlink_to(source / f"{name}.npy")
        with ProcessPoolExecutor(1, get_context("spawn")) as writer:
            writer.submit(describe).result()  # it starts before anything is timed
            rows(folder, writer)
    print(describe())


if __name__ == "__main__":
    main()
