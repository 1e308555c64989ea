"""Indexing and querying real photos and sounds: `python benchmarks/index.py --data DIR`.

Indexes DIR/flickr8k/images and DIR/esc10 with `mini`, exactly and with IVF16,PQ16, and prints
items/s beside bare decoding and bare encoding, bytes per item, cold and warm query times, and how
far the quantised index agrees with the exact one (ann_recall_at_10).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

import mmsearch
from mmsearch.decode import decode_part
from mmsearch.encode import Encoder
from mmsearch.records import FieldName, Modality
from mmsearch.sources import find_items

SAMPLE = 512
COLD_RUNS = 5
WARM_QUERIES = 200


def row(what: str, figure: str) -> None:
    """Print one row of the table."""
    print(f"| {what} | {figure} |", flush=True)


def bare(folder: Path, encoder: Encoder) -> tuple[float, float]:
    """Return items/s of decoding and preprocessing on all cores, and of encoding alone."""
    parts = [
        f.parts[0] for f in islice(find_items([folder]), SAMPLE) if isinstance(f, mmsearch.Item)
    ]

    def prepare(part: mmsearch.Part) -> list[Any]:
        chunks = decode_part(part, encoder.limits, encoder.fits)
        return [encoder.prepare(decoded) for _, decoded in chunks]

    encoder.encode(prepare(parts[0]))  # weights are loaded, kernels chosen
    with ThreadPoolExecutor() as pool:
        started = time.perf_counter()
        prepared = [value for values in pool.map(prepare, parts) for value in values]
        decoding = time.perf_counter() - started
    started = time.perf_counter()
    for start in range(0, len(prepared), encoder.batch_size):
        encoder.encode(prepared[start : start + encoder.batch_size])
    return len(parts) / decoding, len(parts) / (time.perf_counter() - started)


def indexed(folder: Path, sources: Sequence[Path], recipe: str | None) -> mmsearch.Index:
    """Index the sources, print the rate and the size."""
    index = mmsearch.create(folder, recipe=recipe)
    report = index.add(sources)
    info = index.info()
    recipes = ", ".join(f"{f.name.modality} {f.recipe}" for f in info.fields)
    row(f"index {info.items:,} items ({recipes})", f"{report.indexed / report.seconds:.0f} items/s")
    row("size on disk", f"{info.size_bytes / info.items:,.0f} bytes/item")
    started = time.perf_counter()
    index.add(sources)
    seconds = time.perf_counter() - started
    row("second run, nothing changed", f"{info.items / seconds:,.0f} items/s")
    return index


def cold(index: Path, name: str, *query: str | Path) -> None:
    """Print the median time of a whole `mmsearch query` process."""
    command = [sys.executable, "-m", "mmsearch", "query", *map(str, query), "--index", str(index)]
    times = []
    for _ in range(COLD_RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    median = statistics.median(times)
    row(f"cold {name} query, whole process, median of {COLD_RUNS}", f"{median:.2f} s")


def warm(index: mmsearch.Index, captions: Sequence[str]) -> list[list[str]]:
    """Print the time of a query in a running process; return the names of each one's hits."""
    index.search(captions[0], target="image")
    times, found = [], []
    for caption in captions:
        started = time.perf_counter()
        hits = index.search(caption, target="image", k=10)
        times.append(1e3 * (time.perf_counter() - started))
        found.append([hit.item.path.name for hit in hits])
    p50, p95 = np.percentile(times, [50, 95])
    row(f"warm text→image query, p50 / p95 of {len(times)}", f"{p50:.1f} / {p95:.1f} ms")
    return found


def texts(folder: Path, captions: list[str]) -> None:
    """Index 10,000 captions and query them in a new process."""
    many = (captions * -(-10_000 // len(captions)))[:10_000]
    items = (
        mmsearch.Item(f"caption/{n}", (mmsearch.Part("caption", Modality.TEXT, text=caption),))
        for n, caption in enumerate(many)
    )
    with mmsearch.create(folder) as index:
        report = index.add(items)
    row("index 10,000 captions", f"{report.indexed / report.seconds:,.0f} items/s")
    cold(folder, "text (10,000 captions)", "a dog")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    photos, sounds = options.data / "flickr8k/images", options.data / "esc10"
    rows = [json.loads(line) for line in (options.data / "flickr8k/captions.jsonl").open()]
    captions = [caption for row in rows if row["split"] == "dev" for caption in row["captions"]]
    chosen = np.random.default_rng(options.seed).choice(len(captions), WARM_QUERIES, replace=False)
    asked = [captions[i] for i in chosen]
    print(describe(), f"seed {options.seed}\n\n| what | figure |\n|---|---|")
    model = mmsearch.load_model("mini")
    for folder, modality in ((photos, Modality.IMAGE), (sounds, Modality.AUDIO)):
        encoder = model.encoder(FieldName(model.spaces[0].name, modality))
        decoding, encoding = bare(folder, encoder)
        row(f"{modality}: bare decoding and preprocessing", f"{decoding:.0f} items/s")
        row(f"{modality}: bare encoding", f"{encoding:.0f} items/s")
    with tempfile.TemporaryDirectory() as name:
        exact_folder = Path(name) / "exact"
        with indexed(exact_folder, [photos, sounds], None) as exact:
            truth = warm(exact, asked)
        cold(exact_folder, "text", "two dogs playing on the grass", "--target", "image")
        cold(exact_folder, "image", "--image", next(photos.iterdir()), "--target", "image")
        cold(exact_folder, "sound", "--audio", next(sounds.rglob("*.ogg")), "--target", "audio")
        texts(Path(name) / "texts", captions)
        with indexed(Path(name) / "ivf", [photos, sounds], "IVF16,PQ16") as quantised:
            found = warm(quantised, asked)
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(truth, found, strict=True)]
    row("ann_recall_at_10 of IVF16,PQ16, text→image", f"{np.mean(shared):.3f}")


if __name__ == "__main__":
    main()
