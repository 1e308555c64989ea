"""Choosing lists: all centroids compared, or a graph over them (HNSW).

Run: ``python benchmarks/coarse.py [--lists N ...]``; prints one table.

Centroids are CLIP-like pictures (``clip_like.py``), not trained ones, which would take hours;
text-like queries look for lists as searches do, and pictures for the one that they belong to.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import clip_like
import faiss
import numpy as np
from machine import describe

from mmsearch.records import FloatArray
from mmsearch.search.effort import REACH
from mmsearch.store.ann import GRAPH_EFFORT
from mmsearch.store.recipes import GRAPH_LINKS

SEED = 0
QUERIES, ROWS, NPROBE = 300, 8_192, 64
ROUNDS = 3


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


def one_by_one(index: Any, queries: FloatArray) -> None:
    """Look for the lists of each query."""
    for query in queries:
        index.search(query[None], NPROBE)


def best_s(work: Callable[[], object]) -> float:
    """Return the least seconds of a few rounds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [4_096, 16_384, 32_768, 65_536, 131_072]
    parser.add_argument("--lists", type=int, nargs="+", default=sizes)
    arguments = parser.parse_args()
    world, rng = clip_like.make_world(SEED), np.random.default_rng(SEED)
    queries = world.texts(rng, QUERIES) / np.float32(2 * REACH)
    rows = world.images(rng, ROWS)
    print(
        f"| lists | build the graph | {NPROBE} lists of a query: all, graph | of them found "
        f"| a row to its list: all, graph | the nearest found |"
    )
    print("|---|---|---|---|---|---|")
    for nlist in arguments.lists:
        centroids = world.images(rng, nlist)
        every = flat(centroids)
        started = time.perf_counter()
        some = graph(centroids)
        built = time.perf_counter() - started
        ask = [best_s(partial(one_by_one, index, queries)) for index in (every, some)]
        give = [best_s(partial(index.search, rows, 1)) for index in (every, some)]
        lists = [i.search(queries, NPROBE)[1] for i in (every, some)]
        shared = np.mean([len({*a} & {*b}) / NPROBE for a, b in zip(*lists, strict=True)])
        right = np.mean(every.search(rows, 1)[1] == some.search(rows, 1)[1])
        print(
            f"| {nlist:,} | {built:.1f} s | {1e3 * ask[0] / QUERIES:.2f}, "
            f"{1e3 * ask[1] / QUERIES:.2f} ms | {shared:.3f} | {1e6 * give[0] / ROWS:.0f}, "
            f"{1e6 * give[1] / ROWS:.0f} µs | {right:.3f} |",
            flush=True,
        )
    print(describe())


if __name__ == "__main__":
    main()
