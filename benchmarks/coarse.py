"""Choosing lists: all centroids compared, or a graph over them (HNSW).

Run: ``python benchmarks/coarse.py [--lists N ...]``; prints two tables.

Centroids are CLIP-like pictures (``clip_like.py``), not trained ones, which would take hours;
text-like queries look for lists as searches do, and pictures for the one that they belong to.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any, cast

import clip_like
import faiss
import numpy as np
from machine import describe
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.effort import REACH
from mmsearch.store.ann import GRAPH_EFFORT
from mmsearch.store.recipes import GRAPH_LINKS

SEED = 0
QUERIES, ROWS, NPROBE = 300, 8_192, 64


def flat(centroids: FloatArray) -> Any:
    """Compares all."""
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    return index


def graph(centroids: FloatArray) -> Any:
    """Compares those that a graph leads to."""
    index: Any = faiss.IndexHNSWFlat(centroids.shape[1], GRAPH_LINKS)
    index.add(centroids)
    index.hnsw.efSearch = GRAPH_EFFORT
    return index


@dataclass(frozen=True)
class Found:
    """What an index over centroids finds.

    Attributes:
        lists: (n, lists) int64.
        seconds: For each query or row.
        compared: Centroids that each was compared with, where a graph leads.
    """

    lists: NDArray[np.int64]
    seconds: float
    compared: float


def find(index: Any, blocks: list[FloatArray], count: int) -> Found:
    """Find the nearest of each block, one block after the other, at the second go."""
    for _ in range(2):
        statistics = cast("Any", faiss.cvar).hnsw_stats
        statistics.reset()
        started = time.perf_counter()
        lists = np.concatenate([index.search(block, count)[1] for block in blocks])
        seconds = time.perf_counter() - started
    return Found(lists, seconds / len(lists), statistics.ndis / len(lists))


def line(centroids: FloatArray, blocks: list[FloatArray], count: int) -> str:
    """Return a row of a table: comparing all beside the graph."""
    started = time.perf_counter()
    led = graph(centroids)
    built = time.perf_counter() - started
    every, some = (find(index, blocks, count) for index in (flat(centroids), led))
    pairs = zip(every.lists, some.lists, strict=True)
    shared = np.mean([len({*a} & {*b}) / count for a, b in pairs])
    return (
        f"| {len(centroids):,} | {1e3 * every.seconds:.3f} ms | {1e3 * some.seconds:.3f} ms "
        f"| {some.compared:,.0f} | {shared:.3f} | {built:.0f} s |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [4_096, 16_384, 32_768, 65_536, 131_072]
    parser.add_argument("--lists", type=int, nargs="+", default=sizes)
    arguments = parser.parse_args()
    world, rng = clip_like.make_world(SEED), np.random.default_rng(SEED)
    asked = list((world.texts(rng, QUERIES) / np.float32(2 * REACH))[:, None])
    for what, blocks, count in (
        (f"{NPROBE} lists of a query, alone", asked, NPROBE),
        ("the list of a row, in blocks", [world.images(rng, ROWS)], 1),
    ):
        print(f"| lists | {what}: all compared | graph | compared | found | graph built |")
        print("|---|---|---|---|---|---|")
        for nlist in arguments.lists:
            centroids = world.images(np.random.default_rng((SEED, nlist)), nlist)
            print(line(centroids, blocks, count), flush=True)
        print()
    print(describe())


if __name__ == "__main__":
    main()
