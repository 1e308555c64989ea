"""Which lists hold what a query is for: FAISS's own of inner products, and ours by their reach.

Run: ``python benchmarks/lists.py [--rows N] [--seed N]``, or ``--base FILE.npy --asked FILE.npy``
for vectors of your own; prints one table. No codes are made: a list that is looked into counts as
found, so that ann_recall_at_10 can be no higher.

Beside them, FAISS's lists of vectors less their mean, and two remedies that stop: a query looks on
until its 10 best have stayed the same for so many lists ("patience"). Those rows say what is found,
of which share of all vectors, and in how many lists at the mean.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clip_like
import faiss
import numpy as np
from machine import describe
from numpy.typing import NDArray

from mmsearch.records import FloatArray
from mmsearch.search.effort import REACH
from mmsearch.store.ann import AnnIndex
from mmsearch.store.codebook import train_codebook
from mmsearch.store.recipes import choose_recipe, nlist_of, training_rows

K = 10
QUERIES = 1_000
REACHES = (0.01, 0.1, 0.25, 0.35, 0.5, 0.7)
PROBED = (16, 32, 64, 128)
PATIENCE = (8, 16, 32, 64)
THEIR_ROWS_PER_LIST = 40


@dataclass(frozen=True)
class Ranked:
    """For each query the lists in the order in which they are looked into.

    Attributes:
        name: How they are told apart.
        lists: (queries, nlist) int64.
        owners: (rows,) int64, the list of each row.
    """

    name: str
    lists: NDArray[np.int64]
    owners: NDArray[np.int64]

    def held(self, truth: NDArray[np.int64], nprobe: int) -> tuple[float, float]:
        """Return which share of the true rows lies in the first lists, and of all rows."""
        first = self.lists[:, :nprobe]
        found = (self.owners[truth][:, :, None] == first[:, None]).any(axis=2)
        sizes = np.bincount(self.owners, minlength=self.lists.shape[1])
        return float(found.mean()), float(sizes[first].sum(axis=1).mean() / len(self.owners))

    def patient(
        self, base: FloatArray, asked: FloatArray, truth: NDArray[np.int64], patience: int
    ) -> tuple[float, float, float]:
        """Return what is found by stopping when the best stay the same, of how many rows and lists.

        Args:
            base: (rows, dim) float32.
            asked: (queries, dim) float32.
            truth: (queries, K) int64.
            patience: How many lists that change nothing are enough.
        """
        nlist = self.lists.shape[1]
        members = np.split(
            np.argsort(self.owners, kind="stable"),
            np.cumsum(np.bincount(self.owners, minlength=nlist))[:-1],
        )
        found, looked = [], []
        for query, lists, right in zip(asked, self.lists, truth, strict=True):
            best, scores = np.empty(0, np.int64), np.empty(0, np.float32)
            unchanged = seen = rows = 0
            while unchanged < patience and seen < nlist:
                mine = members[lists[seen]]
                both, values = np.append(best, mine), np.append(scores, base[mine] @ query)
                keep = np.argsort(-values, kind="stable")[:K]
                unchanged = 0 if (keep >= len(best)).any() else unchanged + 1
                best, scores = both[keep], values[keep]
                seen, rows = seen + 1, rows + len(mine)
            found.append(len({*best.tolist()} & {*right.tolist()}) / K)
            looked.append((rows / len(base), seen))
        share, lists_seen = np.mean(looked, axis=0)
        return float(np.mean(found)), float(share), float(lists_seen)


def theirs(base: FloatArray, asked: FloatArray, nlist: int, name: str = "FAISS's own") -> Ranked:
    """FAISS's own: lists by the angle to a centroid."""
    index: Any = faiss.index_factory(base.shape[1], f"IVF{nlist},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(some(base, THEIR_ROWS_PER_LIST * nlist))
    _, owners = index.quantizer.search(base, 1)
    return Ranked(name, index.quantizer.search(asked, nlist)[1], owners[:, 0])


def ours(base: FloatArray, asked: FloatArray, nlist: int) -> Iterator[Ranked]:
    """Cells of the nearest centroid, for each reach."""
    recipe = f"IVF{nlist},Flat"
    sample = some(base, training_rows(recipe, base.shape[1]))
    index = AnnIndex(np.frombuffer(train_codebook(recipe, sample), np.uint8))
    _, owners = index._ivf.quantizer.search(base, 1)
    for reach in REACHES:
        yield Ranked(f"reach {reach}", index.probe(asked, nlist, reach).lists, owners[:, 0])


def some(base: FloatArray, count: int) -> FloatArray:
    """Return so many rows, at random."""
    rows = np.random.default_rng(0).choice(len(base), min(count, len(base)), replace=False)
    return base[np.sort(rows)]


def lines(kind: str, base: FloatArray, asked: FloatArray) -> Iterator[str]:
    """Yield the rows of the table for one kind of query."""
    _, truth = faiss.knn(asked, base, K, metric=faiss.METRIC_INNER_PRODUCT)
    nlist = nlist_of(choose_recipe(*base.shape)) or 1
    mean = some(base, 100_000).mean(axis=0)
    centred = theirs(base - mean, asked, nlist, "FAISS's own, less the mean")
    for ranked in (theirs(base, asked, nlist), centred, *ours(base, asked, nlist)):
        held = [ranked.held(truth, n) for n in PROBED]
        cells = " | ".join(f"{found:.3f} ({share:.1%})" for found, share in held)
        yield f"| {kind}, {nlist:,} lists, {ranked.name} | {cells} |"
        if ranked.name == f"reach {REACH}":
            for patience in PATIENCE:
                found, share, seen = ranked.patient(base, asked, truth, patience)
                cells = f"{found:.3f} ({share:.1%}) in {seen:.0f} lists"
                yield f"| {kind}, {ranked.name}, patience {patience} | {cells} | | | |"


def worlds(rows: int, seed: int) -> Iterator[tuple[str, FloatArray, FloatArray]]:
    """Yield kinds of queries, the vectors that they are asked of, and the queries."""
    base = np.concatenate(list(clip_like.image_blocks(seed, rows)))
    world, rng = clip_like.make_world(seed), np.random.default_rng((seed, 10**6))
    yield "text-like", base, world.texts(rng, QUERIES)
    yield "image-like", base, world.images(rng, QUERIES)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, help="(n, dim) L2-normalised rows")
    parser.add_argument("--asked", type=Path, help="(m, dim) queries")
    arguments = parser.parse_args()
    if arguments.base:
        base, asked = (np.load(p).astype(np.float32) for p in (arguments.base, arguments.asked))
        cases = iter([(arguments.asked.stem, base, asked)])
    else:
        cases = worlds(arguments.rows, arguments.seed)
    print("| queries, lists |", " | ".join(f"first {n}" for n in PROBED), "|")
    print("|---" * (1 + len(PROBED)) + "|")
    for case in cases:
        for line in lines(*case):
            print(line, flush=True)
    print(describe())


if __name__ == "__main__":
    main()
