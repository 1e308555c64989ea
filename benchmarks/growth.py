"""What a query costs as an index grows, at one ann_recall_at_10, and whether tuning keeps its word.

Run: ``python benchmarks/growth.py [--rows N ...] [--recipe R] [--folder DIR] [--plot FILE]``;
prints one table. A folder that holds an index of so many rows already has it tuned and measured as
it is.

Vectors: ``clip_like.py``; text-like queries. Each index is tuned by ``Index.tune`` on half of 2,000
queries; what it promises is of the other half, what is found of 1,000 that it has never seen.
"memory to build" is the most that no file held while vectors came in and were encoded.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import clip_like
import numpy as np
from ann import fresh, private_bytes
from clip_like import DIM
from machine import describe

import mmsearch
from mmsearch import Modality, Model, Space
from mmsearch.config import InputLimits
from mmsearch.engine.inputs import PathLike
from mmsearch.present.figure import INK, LINE, MUTED, new_figure, plain_axes, png
from mmsearch.records import FloatArray
from mmsearch.search.tuning import exact

SEED = 0
ANN_RECALL = 0.95
TUNED_BY = 2_000
FRESH = 1_000
TIMED = 300
ROUNDS = 3
K = 10
SPACE = Space("visual", DIM, True, "benchmark", "0" * 64)


class Pictures:
    """Stands for a model that has embedded everything elsewhere."""

    space, modality = SPACE, Modality.IMAGE


class Texts:
    """Embeds the words "7" as the seventh text-like query."""

    space, modality = SPACE, Modality.TEXT
    limits, batch_size = InputLimits(), 1_000

    @cached_property
    def _vectors(self) -> FloatArray:
        rng = np.random.default_rng((SEED, 10**6))
        return clip_like.make_world(SEED).texts(rng, TUNED_BY + FRESH)

    def fits(self, text: str) -> bool:
        """Whether all of a text counts."""
        return True

    def prepare(self, text: str) -> int:
        """The number of a query."""
        return int(text)

    def encode(self, prepared: Sequence[int]) -> FloatArray:
        """(n, dim) float32."""
        return self._vectors[list(prepared)]


TEXTS = Texts()
PICTURES = Model("benchmark", (Pictures(),))  # type: ignore[arg-type]
BOTH = Model("benchmark", (Pictures(), TEXTS))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Measured:
    """One size.

    Attributes:
        rows: Vectors.
        how: Recipe and effort.
        promised: ann_recall_at_10 by tuning; 1 for exact search.
        found: That of fresh queries.
        ms: Of one query, the median.
        per_second: Queries of a batch.
    """

    rows: int
    how: str
    promised: float
    found: float
    ms: float
    per_second: float


def build(folder: Path, rows: int, recipe: str | None) -> int:
    """Make an index of image-like vectors; returns the most memory it took that no file holds."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        file = Path(temporary) / "base.npy"
        clip_like.write_images(file, SEED, rows)
        return fresh(partial(add, file=file, recipe=recipe), folder)


def add(folder: Path, file: Path, recipe: str | None) -> int:
    """Make an index of the vectors in a file; returns this process's most private memory."""
    done, taken = threading.Event(), [private_bytes()]

    def watch() -> None:
        while not done.wait(0.1):
            taken.append(private_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with mmsearch.create(folder, model=PICTURES, recipe=recipe) as index:
        index.add_vectors(file)
    done.set()
    watcher.join()
    return max(taken)


def measure(folder: PathLike, rows: int) -> Measured:
    """Tune an index, and say what it does then."""
    fresh = TEXTS.encode(range(TUNED_BY, TUNED_BY + FRESH))
    with mmsearch.open(folder, model=BOTH) as index:
        tuned = index.tune(ANN_RECALL, queries=[str(n) for n in range(TUNED_BY)])
        found = agreement(index, fresh)
        singles, batches = [], []
        for _ in range(ROUNDS):
            singles += [clock(index, query[None]) for query in fresh[:TIMED]]
            batches.append(clock(index, fresh))
    how, promised = "exact", 1.0
    if tuned:
        (tuning,) = [one.tuning for one in tuned if one.asked is Modality.TEXT]
        assert tuning is not None
        how = f"{tuning.recipe}; {tuning.nprobe} lists, {tuning.depth} scored again"
        promised = tuning.promised
    return Measured(rows, how, promised, found, 1e3 * np.median(singles), FRESH / min(batches))


def clock(index: mmsearch.Index, asked: FloatArray) -> float:
    """Return the seconds that some queries take."""
    started = time.perf_counter()
    index.search_many(vectors=asked, target="image", k=K)
    return time.perf_counter() - started


def agreement(index: mmsearch.Index, asked: FloatArray) -> float:
    """Return which share of the exact 10 best is found."""
    answers = index.search_many(vectors=asked, target="image", k=K)
    numbers = [[int(hit.item.row or 0) - 1 for hit in hits] for hits in answers]
    with index._reader.view() as view:
        ((name, field),) = view.state.fields.items()
        wanted = exact(field, asked, K, view.alive(name), hubs=None).tolist()
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(numbers, wanted, strict=True)]))


def exponent(sizes: Sequence[Measured]) -> float:
    """Return the p that fits time = c · rows^p, by least squares of the logarithms."""
    rows, ms = (np.log([getattr(one, name) for one in sizes]) for name in ("rows", "ms"))
    return float(np.polyfit(rows, ms, 1)[0])


def draw(path: Path, sizes: Sequence[Measured]) -> None:
    """Draw time by size, beside what n^0.6 would be."""
    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    rows, ms = np.array([one.rows for one in sizes]), np.array([one.ms for one in sizes])
    axes.loglog(rows, ms[0] * (rows / rows[0]) ** 0.6, color=LINE, label="n^0.6")
    axes.loglog(rows, ms, "o-", color="#0072b2", label=f"one query, ann_recall_at_10 {ANN_RECALL}")
    axes.set_xlabel("vectors", color=INK, fontsize=9)
    axes.set_ylabel("ms", color=INK, fontsize=9)
    axes.legend(frameon=False, fontsize=8, labelcolor=MUTED)
    plain_axes(axes)
    path.write_bytes(png(figure))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 5_000_000]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes)
    parser.add_argument("--recipe", help="FAISS factory string; by size")
    parser.add_argument("--folder", type=Path, help="for the indexes; a temporary one")
    parser.add_argument("--plot", type=Path, help="a .png")
    arguments = parser.parse_args()
    found = []
    print("| vectors | how | promised | found | one query | batch | memory to build |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for rows in sorted(arguments.rows):
            folder = (arguments.folder or Path(temporary)) / str(rows)
            memory = "–"
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                memory = f"{build(folder, rows, arguments.recipe) / 1e9:.1f} GB"
            one = measure(folder, rows)
            found.append(one)
            cells = f"{one.promised:.3f} | {one.found:.3f} | {one.ms:.2f} ms"
            cells += f" | {one.per_second:,.0f}/s | {memory}"
            print(f"| {rows:,} | {one.how} | {cells} |", flush=True)
    if len(found) > 1:
        print(f"\ntime grows with rows^{exponent(found):.2f}")
    print(describe())
    if arguments.plot:
        draw(arguments.plot, found)


if __name__ == "__main__":
    main()
