"""Building and searching an index on a GPU beside the CPU: time, and what is found.

Run: ``python benchmarks/on_device.py [--rows N ...] [--device cuda] [--folder DIR]``; prints one
table. Vectors are those of ``ann.py``, 50,000 at the least: fewer are searched exactly on the CPU.

"compact" writes vectors anew, trains, and encodes. "exact" copies vectors to the device, "codes"
only their codes, as if vectors had no room. "found" is ann_recall_at_10 of text-like queries,
untuned; "one" the median of queries alone; "first" opening and the first query, in a new process.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import clip_like
import numpy as np
import torch
from ann import fresh
from growth import FRESH, PICTURES, ROUNDS, SEED, TEXTS, TIMED, agreement, clock
from machine import describe

import mmsearch
from mmsearch.store.field import Field
from mmsearch.store.plan import EXACT_ROWS

WAYS = ("exact", "codes")


def build(folder: Path, rows: int, device: str | None) -> float:
    """Make an index of image-like vectors; returns the seconds that compaction takes."""
    file = folder.parent / f"{rows}.npy"
    if not file.exists():
        clip_like.write_images(file, SEED, rows)
    if not folder.exists():
        with mmsearch.create(folder, model=PICTURES, search_device=device) as index:
            index.add_vectors(file)
    with mmsearch.open(folder, model=PICTURES, search_device=device) as index:
        started = time.perf_counter()
        index.compact()
        return time.perf_counter() - started


@contextmanager
def searching(folder: Path, device: str | None, *, codes: bool) -> Iterator[mmsearch.Index]:
    """Open an index whose vectors may have no room on the device."""
    room = mock.patch.object(Field, "on_device", None) if codes else mock.MagicMock()
    with room, mmsearch.open(folder, model=PICTURES, search_device=device) as index:
        yield index


def measure(folder: Path, device: str | None, *, codes: bool) -> str:
    """Return cells: what is found, one query, a batch, and opening with the first query."""
    asked = TEXTS.encode(range(FRESH))
    started = time.perf_counter()
    with searching(folder, device, codes=codes) as index:
        clock(index, asked[:1])
        opened = time.perf_counter() - started
        found = agreement(index, asked)
        singles, batches = [], []
        for _ in range(ROUNDS):
            singles += [clock(index, query[None]) for query in asked[:TIMED]]
            batches.append(clock(index, asked))
    per_second = FRESH / min(batches)
    ms = 1e3 * float(np.median(singles))
    return f"{found:.3f} | {ms:.2f} ms | {per_second:,.0f}/s | {opened:.1f} s"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--folder", type=Path, help="for vectors and indexes; a temporary one")
    arguments = parser.parse_args()
    if min(arguments.rows) < EXACT_ROWS:
        parser.error(f"--rows: {EXACT_ROWS:,} at the least")
    print("| vectors | built on | compact | searched on | found | one | batch | first |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for rows in arguments.rows:
            for built_on in (None, arguments.device):
                index = folder / f"{rows}-{built_on or 'faiss'}"
                seconds = build(index, rows, built_on)
                ways = {"CPU, FAISS": (None, True)}
                if built_on:
                    ways |= {f"{built_on}, {way}": (built_on, way == "codes") for way in WAYS}
                for name, (device, codes) in ways.items():
                    cells = fresh(partial(measure, device=device, codes=codes), index)
                    row = f"{rows:,} | {built_on or 'CPU'} | {seconds:.0f} s | {name} | {cells}"
                    print(f"| {row} |", flush=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{describe()}, {gpu}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
