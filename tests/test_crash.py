"""Real SIGKILLs at random moments of `add`, `compact` and `repair`."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from contents import (
    Answers,
    Contents,
    answers_of,
    contents_of,
    differences,
    write_media,
    write_texts,
)
from fakes import fake_model
from killing import (
    Stage,
    add_files,
    compact_index,
    duration_s,
    fast_folder,
    repair_index,
    run_and_kill,
)

import mmsearch

KILLS = 10
KILLS_PER_INDEX = 3
SOAK_KILLS = int(os.environ.get("MMSEARCH_SOAK_KILLS", "1000"))
RECIPE = "OPQ8,IVF16,PQ8x4"
KEPT = 0.4


@dataclass
class Scene:
    """Sources, an index that nobody killed, and how long it took."""

    folder: Path
    sources: Path
    items: int
    recipe: str | None
    add_s: float = 0.0
    contents: Contents = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)

    @property
    def reference(self) -> Path:
        return self.folder / "reference"

    def fresh(self, name: str) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        mmsearch.create(path, model=fake_model(), recipe=self.recipe).close()
        return path


def scene(folder: Path, sources: Path, recipe: str | None) -> Scene:
    made = Scene(folder, sources, len(list(sources.iterdir())), recipe)
    duration_s(add_files, made.fresh("warm"), sources)  # the first child waits for the fork server
    made.add_s = duration_s(add_files, made.fresh("reference"), sources)
    made.contents, made.answers = contents_of(made.reference), answers_of(made.reference)
    assert len(made.contents) == made.items
    return made


@pytest.fixture(scope="module")
def texts() -> Iterator[Scene]:
    with fast_folder() as folder:
        yield scene(folder, write_texts(folder / "sources", 50, paragraphs=4), None)


@pytest.fixture(scope="module")
def everything() -> Iterator[Scene]:
    with fast_folder() as folder:
        sources = write_texts(folder / "sources", 90)
        yield scene(folder, write_media(sources, 9), RECIPE)


def check_after_kill(scene: Scene, index_path: Path) -> int:
    """Open, verify and find everything that was committed; returns how many items."""
    assert mmsearch.verify(index_path) == []
    held = contents_of(index_path)
    for key, item in held.items():
        assert item == scene.contents[key]
    with mmsearch.open(index_path, model=fake_model()) as index:
        assert index.info().items == len(held)
        files = [path for path in scene.sources.iterdir() if index.get(path)]
        assert len(files) == len(held)
        for path in files:
            check_found(index, path)
    return len(held)


def check_found(index: mmsearch.Index, path: Path) -> None:
    """A text is found by its own word, a picture or a sound by itself, among its equals."""
    if path.suffix == ".txt":
        assert index.search(f"word{path.stem}", k=1, target="text")[0].item.path == path
    elif path.suffix == ".png":
        assert path in {h.item.path for h in index.search(image=path, target="image", k=20)}
    else:
        assert path in {h.item.path for h in index.search(audio=path, target="audio", k=20)}


def kill_and_resume(scene: Scene, index_path: Path, rng: random.Random) -> Iterator[Stage]:
    """Kill a few runs of `add` on one index, each resuming the one before; then let one end."""
    before = 0
    for _ in range(KILLS_PER_INDEX):
        after_s = rng.uniform(0, scene.add_s * (1 - before / scene.items))
        death = run_and_kill(add_files, index_path, scene.sources, after_s=after_s)
        yield death.stage
        kept = check_after_kill(scene, index_path)
        assert kept >= before
        if before + death.indexed >= scene.items / 2:
            assert kept >= KEPT * scene.items
        before = kept
    run_and_kill(add_files, index_path, scene.sources, after_s=None)


def crash(scene: Scene, kills: int, seed: int) -> Counter[Stage]:
    """Kill that many runs; each index that ends equals the reference."""
    rng, stages = random.Random(seed), Counter[Stage]()
    while stages.total() - stages[Stage.DONE] < kills:
        index_path = scene.fresh("killed")
        stages.update(kill_and_resume(scene, index_path, rng))
        assert contents_of(index_path) == scene.contents
        assert differences(answers_of(index_path), scene.answers) == []
    return stages


def report(what: str, stages: Counter[Stage]) -> None:
    parts = ", ".join(f"{stages[s]} {s.name.lower().replace('_', ' ')}" for s in Stage)
    print(f"\n{what}: {stages.total()} runs, killed or ended: {parts}")  # noqa: T201


def test_killed_runs_lose_nothing_that_was_committed(texts: Scene) -> None:
    report("texts", crash(texts, KILLS, seed=0))


def test_killed_compactions_change_nothing(texts: Scene) -> None:
    kill_work_on_copies(texts, compact_index, 2, damage=False)


def test_a_killed_repair_is_run_again(texts: Scene) -> None:
    kill_work_on_copies(texts, repair_index, 2, damage=True)


def kill_work_on_copies(scene: Scene, work: object, kills: int, *, damage: bool) -> None:
    """Kill `compact` or `repair`, then let it end: the index is as good as the reference."""
    assert callable(work)
    rng = random.Random(1)
    path = scene.folder / "copy"
    copy_index(scene, path, damage=damage)
    work_s = duration_s(work, path)
    for _ in range(kills):
        copy_index(scene, path, damage=damage)
        run_and_kill(work, path, after_s=rng.uniform(0, 1.1 * work_s))
        if not damage:
            check_after_kill(scene, path)
        run_and_kill(work, path, after_s=None)
        assert mmsearch.verify(path) == []
        with mmsearch.open(path, model=fake_model()) as index:
            index.add(scene.sources)
            index.compact()
        assert contents_of(path) == scene.contents
        assert mmsearch.verify(path) == []


def copy_index(scene: Scene, path: Path, *, damage: bool) -> None:
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(scene.reference, path)
    if damage:
        for name in ("data.mdb", "catalog.sqlite", max(path.glob("*.vectors")).name):
            content = bytearray((path / name).read_bytes())
            content[len(content) // 2] ^= 1
            (path / name).write_bytes(content)


@pytest.mark.soak
def test_soak_of_everything(everything: Scene) -> None:
    report("everything", crash(everything, SOAK_KILLS, seed=2))


@pytest.mark.soak
def test_soak_of_compactions_and_repairs(everything: Scene) -> None:
    kill_work_on_copies(everything, compact_index, max(1, SOAK_KILLS // 20), damage=False)
    kill_work_on_copies(everything, repair_index, max(1, SOAK_KILLS // 20), damage=True)
