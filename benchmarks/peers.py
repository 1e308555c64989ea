"""Vector search beside its peers, each held to the same ann_recall_at_10.

Run: ``python benchmarks/peers.py WORK [--rows N] [--only NAME] [--again]``. In the folder WORK it
keeps an environment for each peer, the vectors, the indexes, and for each engine a JSON of what was
measured: an engine that was measured is not measured again, unless asked to. At the end it writes
``peers.md`` (tables), ``peers.json`` (all points) and ``peers.png`` beside the vectors.

Vectors: ``clip_like.py``, 512-d float16, searched by inner product with 1,000 text-like and 1,000
image-like queries; exact answers come from scoring all. The knobs of each engine (``peers/``) are
turned, and its row is the fastest of the settings whose ann_recall_at_10 of text-like queries
reaches 0.95: single queries, one after another, in a process that has one core to itself; a batch
of 1,000 on all. Rates are medians of three rounds, of fewer where one takes long. Engines take
turns as wholes, so that rates of two engines compare only on a machine that does nothing else.

Memory is what serving adds to a process with the libraries loaded (/proc/self/smaps_rollup): all
that is resident after 1,000 queries, mapped pages that they touched included; and what of it is
private, which no file holds. An engine that reads files instead of mapping them (LanceDB) has its
vectors in the page cache, where neither counts; the private memory is what compares.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import clip_like
import numpy as np
from ann import KINDS, base_of, draw_vectors, exact
from machine import describe

TUNING = 4_000
"""Text-like queries that mmsearch is tuned with, half of them to choose by."""
TARGET = 0.95
LEAST_ROWS = 50_001
"""mmsearch searches fewer exactly, and there is nothing to compare."""
SCRIPTS = Path(__file__).with_suffix("")


@dataclass(frozen=True)
class Engine:
    """What is compared.

    Attributes:
        name: For people.
        script: Its file in ``peers/``, less ``with_`` and ``.py``; names the environment too.
        packages: What pip installs there, the engine first; nothing: this environment serves.
        variant: Which recipe, where the script has several.
        bare: Whether the engine is installed without what it asks for.
    """

    name: str
    script: str
    packages: tuple[str, ...] = ()
    variant: str = ""
    bare: bool = False

    @property
    def version(self) -> str:
        """The engine's own."""
        return self.packages[0].split("==")[1] if self.packages else version("mmsearch")


AUTOFAISS = ("autofaiss==2.18.0", "pyarrow==19.0.1", "faiss-cpu==1.12.0")
"""It wants NumPy 1, with which newer versions of pyarrow cannot be imported, and an ``OPQMatrix``
that takes names, as that of FAISS 1.15 does not."""
ENGINES = (
    Engine("mmsearch", "mmsearch"),
    Engine("LanceDB", "lancedb", ("lancedb==0.40.0",)),
    Engine("usearch f16", "usearch", ("usearch==2.26.6",), "f16"),
    Engine("usearch i8", "usearch", ("usearch==2.26.6",), "i8"),
    Engine("hnswlib", "hnswlib", ("hnswlib==0.8.0",)),
    Engine("FAISS HNSW SQ8", "faiss", ("faiss-cpu==1.15.1",)),
    Engine("txtai", "txtai", ("txtai==9.14.0", "faiss-cpu==1.15.1"), bare=True),
    Engine("autofaiss", "autofaiss", AUTOFAISS),
    # 140 bytes: what mmsearch keeps of a vector in private memory (docs/benchmarks.md)
    Engine("autofaiss, 140 bytes", "autofaiss", AUTOFAISS, "140"),
)


@dataclass(frozen=True)
class Point:
    """What one setting of an engine does.

    Attributes:
        setting: Its knobs.
        text: ann_recall_at_10 of text-like queries.
        image: That of image-like ones.
        single: Queries per second, one after another on one core.
        batch: Queries per second of a batch on all cores.
    """

    setting: dict[str, float]
    text: float
    image: float
    single: float
    batch: float

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.setting.items())


@dataclass(frozen=True)
class Result:
    """What was measured of an engine; with a failure, nothing.

    Attributes:
        engine: Its name.
        version: Its version.
        built: Recipe, own setting, seconds and bytes (``Built`` and ``build`` in ``peer.py``).
        points: All settings that were tried.
        memory: Resident and private bytes with the chosen setting.
        failure: Why there is nothing.
    """

    engine: str
    version: str
    built: dict[str, Any]
    points: list[Point]
    memory: dict[str, int]
    failure: str = ""

    @property
    def chosen(self) -> Point:
        """The fastest point that reaches the target; if none does, the one that finds most."""
        reached = [point for point in self.points if point.text >= TARGET]
        if reached:
            return max(reached, key=lambda point: point.single)
        return max(self.points, key=lambda point: point.text)

    @property
    def own(self) -> Point | None:
        """What the setting does that the engine has chosen itself."""
        return next((p for p in self.points if p.setting == self.built["own"]), None)


class FailedError(Exception):
    """A peer's environment or job failed; one line says why."""


def make_data(data: Path, rows: int, seed: int) -> None:
    """Write vectors, queries and exact answers, unless they are there."""
    if (data / "image_truth.npy").exists():
        return
    vectors = data / "vectors"
    vectors.mkdir(parents=True, exist_ok=True)
    draw_vectors(vectors, rows, seed)
    tuning = np.random.default_rng((seed, 10**6, len(KINDS)))
    np.save(data / "tuning.npy", clip_like.make_world(seed).texts(tuning, TUNING))
    for kind in KINDS:
        asked = (vectors / f"{kind}.npy").rename(data / f"{kind}.npy")
        np.save(data / f"{kind}_truth.npy", exact(base_of(vectors), np.load(asked)))


def python_of(engine: Engine, environments: Path) -> Path:
    """Return the interpreter of an engine's environment, which is made if it is not there."""
    if not engine.packages:
        return Path(sys.executable)
    folder = environments / engine.script
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if engine.bare:
            run([*pip, "--no-deps", engine.packages[0]])
            run([*pip, *engine.packages[1:]])
        else:
            run([*pip, *engine.packages])
        ready.touch()
    return python


def run(command: Sequence[str]) -> None:
    """Run a command; of what it says, show the end if it fails.

    Raises:
        FailedError: It failed.
    """
    environment = os.environ | {"LANCEDB_LOG": "error"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        print(*lines[-15:], sep="\n", file=sys.stderr)
        said = lines[-1][:200] if lines else "nothing"
        raise FailedError(f"exit status {done.returncode}: {said}")


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Let this process, and what it starts meanwhile, run on so many of its cores."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def measure(engine: Engine, work: Path, data: Path) -> Result:
    """Build, sweep, time and weigh an engine, each in a process of its own."""
    python = python_of(engine, work / "environments")
    slug = engine.script + engine.variant
    folder, answer = data / "indexes" / slug, data / f"{slug}.answer"
    every = len(os.sched_getaffinity(0))
    script = SCRIPTS / f"with_{engine.script}.py"

    def job(name: str, given: object, count: int) -> Any:
        print(f"{engine.name}: {name}", file=sys.stderr, flush=True)
        options = {
            "--data": data,
            "--folder": folder,
            "--variant": engine.variant,
            "--cores": count,
            "--given": json.dumps(given),
            "--answer": answer,
        }
        with cores(count):
            words = [f"{key}={value}" for key, value in options.items()]
            run([str(python), str(script), name, *words])
        return json.loads(answer.read_text())

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    built = job("build", None, every)
    swept = job("sweep", built["own"], every)
    rates = job("single", [point["setting"] for point in swept], 1)
    points = [Point(single=rate, **point) for rate, point in zip(rates, swept, strict=True)]
    result = Result(engine.name, engine.version, built, points, {})
    memory = job("weigh", result.chosen.setting, 1)
    return Result(engine.name, engine.version, built, points, memory)


def measured(engine: Engine, work: Path, data: Path, again: bool) -> Result:
    """Return what was measured of an engine before, else measure it and keep that."""
    kept = data / f"{engine.script}{engine.variant}.json"
    if kept.exists() and not again:
        raw = json.loads(kept.read_text())
        return Result(**raw | {"points": [Point(**point) for point in raw["points"]]})
    try:
        result = measure(engine, work, data)
    except FailedError as error:
        print(f"{engine.name}: {error}", file=sys.stderr)
        return Result(engine.name, engine.version, {}, [], {}, str(error))
    kept.write_text(json.dumps(asdict(result)))
    return result


def on_front(mine: Result, results: Sequence[Result], weight: str) -> bool:
    """Whether no point of another engine is as good as a row in all of recall, rate and memory.

    Args:
        mine: Whose row.
        results: Of all engines.
        weight: Which memory counts.
    """
    row = mine.chosen

    def beaten_by(point: Point, other: Result) -> bool:
        theirs = (point.text, point.single, -other.memory[weight])
        ours = (row.text, row.single, -mine.memory[weight])
        return theirs != ours and all(a >= b for a, b in zip(theirs, ours, strict=True))

    others = (other for other in results if other.engine != mine.engine)
    return not any(beaten_by(point, other) for other in others for point in other.points)


def table(results: Sequence[Result], rows: int) -> Iterator[str]:
    """Yield the lines of the table of all engines at the target."""
    heads = (
        "engine",
        "recipe",
        "setting",
        "ann_recall_at_10 text / image",
        "queries/s one / batch",
        "bytes/vector private / resident",
        "disk",
        "build",
        "Pareto front private / resident",
    )
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for one in results:
        point, built = one.chosen, one.built
        missed = "" if point.text >= TARGET else ", not reached"
        tuning = f" (tuning {built['tuning_s']:,.0f} s)" if built["tuning_s"] else ""
        private, resident = (one.memory[f"{kind}_bytes"] for kind in ("private", "resident"))
        fronts = (on_front(one, results, f"{kind}_bytes") for kind in ("private", "resident"))
        cells = (
            f"{one.engine} {one.version}",
            built["recipe"],
            str(point),
            f"{point.text:.3f} / {point.image:.3f}{missed}",
            f"{point.single:,.0f} / {point.batch:,.0f}",
            f"{private / rows:,.0f} / {resident / rows:,.0f}",
            f"{built['disk_bytes'] / rows:,.0f}",
            f"{built['build_s']:,.0f} s{tuning}, {built['peak_bytes'] / 2**30:.1f} GiB",
            " / ".join("yes" if front else "no" for front in fronts),
        )
        yield f"| {' | '.join(cells)} |"


def own_settings(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table of what engines choose themselves."""
    yield "| engine | its own setting | ann_recall_at_10 text / image | queries/s one / batch |"
    yield "|---|---|---|---|"
    for one in results:
        if point := one.own:
            found = f"{point.text:.3f} / {point.image:.3f}"
            rates = f"{point.single:,.0f} / {point.batch:,.0f}"
            yield f"| {one.engine} | {point} | {found} | {rates} |"


def shortfalls(results: Sequence[Result]) -> Iterator[str]:
    """Yield a line for each measure by which mmsearch is not the best of what reaches the target.

    The first result is mmsearch's.
    """
    measures: dict[str, Callable[[Result], float]] = {  # the less, the better
        "one query": lambda one: 1 / one.chosen.single,
        "a batch": lambda one: 1 / one.chosen.batch,
        "private memory": lambda one: one.memory["private_bytes"],
        "resident memory": lambda one: one.memory["resident_bytes"],
        "disk": lambda one: one.built["disk_bytes"],
        "build": lambda one: one.built["build_s"] - one.built["tuning_s"],
    }
    mine, *others = [one for one in results if one.chosen.text >= TARGET or one is results[0]]
    for name, cost in measures.items():
        better = sorted((other for other in others if cost(other) < cost(mine)), key=cost)
        if better:
            said = (f"{other.engine} {cost(mine) / cost(other):.2f}" for other in better)
            yield f"* {name}, mmsearch as a multiple of: {', '.join(said)}"


def draw(results: Sequence[Result], file: Path) -> None:
    """Plot ann_recall_at_10 of text-like queries against queries per second."""
    from matplotlib.figure import Figure

    figure = Figure((11, 5), layout="constrained")
    for axes, (title, rate) in zip(
        figure.subplots(1, 2, sharex=True),
        (("one after another, one core", "single"), ("a batch, all cores", "batch")),
        strict=True,
    ):
        for one in results:
            fastest: list[Point] = []
            for point in sorted(one.points, key=lambda point: -getattr(point, rate)):
                if not fastest or point.text > fastest[-1].text:
                    fastest.append(point)
            found = [point.text for point in fastest]
            rates = [getattr(point, rate) for point in fastest]
            axes.plot(found, rates, marker="o", markersize=4, label=one.engine)
        axes.axvline(TARGET, color="grey", linestyle=":")
        axes.set(yscale="log", title=title, xlabel="ann_recall_at_10, text-like queries")
        axes.set(ylabel="queries/s", xlim=(0.6, 1.0))
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=150)


def report(data: Path, results: Sequence[Result], rows: int, seed: int) -> str:
    """Write tables, points and plot; return the tables."""
    machine = f"{rows:,} vectors, seed {seed}; {describe()}"
    compared = [result for result in results if not result.failure]
    lines = [machine, "", *table(compared, rows), "", *own_settings(compared), ""]
    if compared and compared[0].engine == ENGINES[0].name:
        lines += [*shortfalls(compared), ""]
    lines += [f"* {one.engine} {one.version}: {one.failure}" for one in results if one.failure]
    text = "\n".join(lines)
    (data / "peers.md").write_text(text)
    points = {"machine": machine, "engines": [asdict(result) for result in results]}
    (data / "peers.json").write_text(json.dumps(points, indent=1))
    draw(compared, data / "peers.png")
    return text


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for everything that is made")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    names = [engine.name for engine in ENGINES]
    parser.add_argument("--only", action="append", choices=names, help="can be given repeatedly")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    asked = parser.parse_args()
    if asked.rows < LEAST_ROWS:
        parser.error(f"--rows {asked.rows}: give {LEAST_ROWS:,} at least; mmsearch is exact below")
    work: Path = asked.work.resolve()
    data = work / f"{asked.rows}-{asked.seed}"
    make_data(data, asked.rows, asked.seed)
    engines = [engine for engine in ENGINES if not asked.only or engine.name in asked.only]
    results = [measured(engine, work, data, asked.again) for engine in engines]
    print(report(data, results, asked.rows, asked.seed))


if __name__ == "__main__":
    main()
