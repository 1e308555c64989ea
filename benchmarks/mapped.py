"""Codes that stay on disk beside codes in memory: time, memory, and what is found.

Run: ``python benchmarks/mapped.py [--rows N] [--folder DIR]``; prints one table. A folder that
holds the vectors, or indexes too, is measured as it is.

Vectors and queries are those of ``ann.py``. For "cold" queries all codes were dropped from memory
and page cache before each, though not from what lies below the system (a host's cache, a drive's).
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ann import KINDS, SEED, K, base_of, clock, draw_vectors, exact, fresh, model_of, private_bytes
from ann import queries as queries_of
from machine import describe

import mmsearch
from mmsearch.records import FloatArray
from mmsearch.store.field import Field

RECIPES = ("OPQ128,IVF4096,PQ128x4", "RR512,IVF4096,RaBitQ", "IVF4096,SQ8")
TIMED, COLD = 300, 30


@dataclass(frozen=True)
class Measured:
    """One index, opened in one way.

    Attributes:
        found: ann_recall_at_10 of text-like queries.
        ms: Of one query, the median, once its codes were read before.
        cold_ms: The same with no codes in memory; NaN where they stay there.
        memory: Bytes that no file holds, which opening and searching add.
    """

    found: float
    ms: float
    cold_ms: float
    memory: int


def measure(folder: Path, *, map_codes: bool) -> Measured:
    """Measure the index in a folder, beside which its vectors are."""
    asked, truth = queries_of(folder.parent, "text"), np.load(folder.parent / "truth.npy")
    before = private_bytes()
    with mmsearch.open(folder, model=model_of(folder.parent), map_codes=map_codes) as index:

        def search(query: FloatArray) -> set[int]:
            hits = index.search(vector=query, target="image", k=K)
            return {int(hit.item.row or 0) - 1 for hit in hits}

        shared = [len(search(query) & {*best}) for query, best in zip(asked, truth, strict=True)]
        warm, cold = clock(search, asked[:TIMED]), [np.nan]
        memory = private_bytes() - before
        if map_codes:
            with index._reader.view() as view:
                (field,) = view.state.fields.values()
            cold = [cold_query(field, search, query) for query in asked[:COLD]]
    ms, cold_ms = (1e3 * float(np.median(seconds)) for seconds in (warm, cold))
    return Measured(sum(shared) / (K * len(shared)), ms, cold_ms, memory)


def cold_query(field: Field, search: object, query: FloatArray) -> float:
    """Return the seconds of a query, once the codes were dropped."""
    for codes in field._codes:
        file = codes._file
        file.release(np.array([0, len(file._table) - 1]))
        descriptor = os.open(file.path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return float(clock(search, [query])[0])  # type: ignore[arg-type]


def prepare(folder: Path, rows: int) -> None:
    """Write vectors, exact answers and indexes, unless they are there."""
    if not (folder / f"{KINDS[-1]}.npy").exists():
        draw_vectors(folder, rows, SEED)
    if not (folder / "truth.npy").exists():
        np.save(folder / "truth.npy", exact(base_of(folder), queries_of(folder, "text")))
    for recipe in RECIPES:
        if not (folder / recipe).exists():
            with mmsearch.create(folder / recipe, model=model_of(folder), recipe=recipe) as index:
                index.add_vectors(folder / "base.npy")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="for vectors and indexes; a temporary one")
    arguments = parser.parse_args()
    print(
        "| recipe | codes | found | one query | cold | private memory |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = arguments.folder or Path(temporary)
        prepare(folder, arguments.rows)
        for recipe in RECIPES:
            for map_codes in (False, True):
                one = fresh(partial(measure, map_codes=map_codes), folder / recipe)
                cold = f"{one.cold_ms:.1f} ms" if map_codes else ""
                cells = f"{one.found:.3f} | {one.ms:.2f} ms | {cold} | {one.memory / 1e6:,.0f} MB"
                print(f"| {recipe} | {('loaded', 'mapped')[map_codes]} | {cells} |", flush=True)
    print(describe())


if __name__ == "__main__":
    main()
