"""Importing embeddings: a million CLIP vectors with captions, and how long each step takes alone.

Run: ``python benchmarks/vectors.py [--rows N] [--folder DIR]``; prints one table.

The vectors are random points around 2,000 centres, unit length, 512-d float16, as clip-retrieval
writes them, 100,000 to a file; the captions are of ten words.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
from ann import private_bytes
from machine import describe
from pyarrow import parquet

from mmsearch.store.manifest import EXACT

DIM = 512
SHARD = 100_000
WORDS = 5_000

CODE = """
import resource, sys, time
import mmsearch
from mmsearch import Model, Modality, Space

class Encoder:
    space = Space("visual", 512, True, "benchmark", "0" * 64)
    modality = Modality.IMAGE

folder, target = sys.argv[1:]
stored = []
with mmsearch.create(target, model=Model("benchmark", (Encoder(),))) as index:
    report = index.add_vectors(folder, progress=lambda _: stored.append(time.perf_counter()))
    coding_s = time.perf_counter() - stored[-1]
    recipe = index.info().fields[0].recipe
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(report.added, report.seconds, coding_s, time.process_time(), recipe, peak)
"""


def write(folder: Path, rows: int) -> None:
    """Write vectors and metadata."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2_000, DIM)).astype(np.float32)
    words = np.array([f"word{number}" for number in range(WORDS)])
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for shard, start in enumerate(range(0, rows, SHARD)):
        n = min(SHARD, rows - start)
        vectors = centres[rng.integers(0, len(centres), n)]
        vectors += 0.7 * rng.standard_normal((n, DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.save(folder / f"img_emb/img_emb_{shard}.npy", vectors.astype(np.float16))
        said = words[(WORDS * rng.random((n, 10)) ** 2).astype(int)]
        table = {
            "image_path": [f"{at:09d}.jpg" for at in range(start, start + n)],
            "caption": [" ".join(row) for row in said],
            "width": rng.integers(200, 2_000, n),
        }
        parquet.write_table(pa.table(table), folder / f"metadata/metadata_{shard}.parquet")


def bare_faiss(folder: Path, recipe: str) -> float:
    """Seconds that FAISS takes to train on a sample and to encode all."""
    started = time.perf_counter()
    arrays = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("img_emb/*.npy"))]
    index: Any = faiss.index_factory(DIM, recipe, faiss.METRIC_INNER_PRODUCT)
    inverted: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    inverted.do_polysemous_training = False  # as mmsearch does: 40 s for a filter not in use
    sample = np.concatenate([array[:: max(1, len(array) // 10_000)] for array in arrays])
    index.train(sample.astype(np.float32))
    for array in arrays:
        for start in range(0, len(array), 10_000):
            index.add(np.asarray(array[start : start + 10_000], np.float32))
    return time.perf_counter() - started


def run_import(vectors: Path, target: Path) -> tuple[str, int]:
    """Import in a process of its own: what it prints, and its peak of private memory in bytes."""
    command = [sys.executable, "-c", CODE, str(vectors), str(target)]
    anonymous = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            anonymous = max(anonymous, private_bytes(process.pid))
            time.sleep(0.1)
        assert process.stdout is not None
        output = process.stdout.read()
    if process.returncode:
        raise SystemExit(process.returncode)
    return output, anonymous


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="for vectors and index; a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write(folder / "emb", arguments.rows)
        output, anonymous = run_import(folder / "emb", folder / "index")
        added, seconds, coding_s, cpu_s, recipe, peak = output.split()
        size = sum(path.stat().st_size for path in (folder / "index").iterdir())
        rows = {
            f"import {int(added):,} x {DIM} float16 with captions": f"{float(seconds):.0f} s",
            f"of it training and encoding, {recipe}": f"{float(coding_s):.0f} s",
            "processor time, all threads": f"{float(cpu_s):.0f} s",
            "rows a second": f"{int(added) / float(seconds):,.0f}",
            "peak memory, mapped files included": f"{int(peak) / 2**20:.2f} GiB",
            "peak memory, without them": f"{anonymous / 2**30:.2f} GiB",
            "on disk": f"{size / int(added):,.0f} bytes a row",
        }
        if recipe != EXACT:
            seconds = f"{bare_faiss(folder / 'emb', recipe):.0f} s"
            rows["training and adding by bare FAISS"] = seconds
    for what, figure in rows.items():
        print(f"| {what} | {figure} |")
    print(describe())


if __name__ == "__main__":
    main()
