"""Real SIGKILLs of `tune`: the index keeps the earlier tuning or has the new one, as a whole."""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from contents import Contents, contents_of
from fakes import fake_model
from killing import Stage, duration_s, fast_folder, run_and_kill, tune_and_die, tune_index
from test_tune import clusters

import mmsearch
from mmsearch.records import Modality
from mmsearch.store.reader import Reader

ROWS = 1_000
EARLIER, NEW = 0.7, 0.9
RANDOM_KILLS = 3
COMMIT_KILLS = 3
SOAK_KILLS = int(os.environ.get("MMSEARCH_SOAK_KILLS", "1000")) // 10


@dataclass(frozen=True)
class Scene:
    """An index that has been tuned, and what it holds."""

    folder: Path
    contents: Contents

    def fresh(self) -> Path:
        path = self.folder / "killed"
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(self.folder / "tuned", path))

    def check(self, path: Path) -> bool:
        """After a kill an index is whole, and of one tuning; whether it is the new one."""
        assert mmsearch.verify(path) == []
        assert contents_of(path) == self.contents
        targets = targets_of(path)
        assert targets in (of_both(EARLIER), of_both(NEW))
        with mmsearch.open(path, model=fake_model()) as index:
            for vector in np.load(self.folder / "pictures.npy")[::200]:
                (hit,) = index.search(vector=vector, k=1)
                assert hit.signals["cosine"] == pytest.approx(1, abs=1e-3)
        return targets == of_both(NEW)

    def finish(self, path: Path) -> None:
        """The next tune works, and leaves no codes of one that was killed."""
        assert run_and_kill(tune_index, path, NEW, after_s=None).stage is Stage.DONE
        assert self.check(path)
        assert {file.name for file in path.glob("*.code*")} <= named_files(path)


def of_both(target: float) -> dict[Modality, float]:
    """Targets as one tune sets them, for texts and for pictures."""
    return {Modality.TEXT: target, Modality.IMAGE: target}


def named_files(path: Path) -> set[str]:
    """The files that the newest commit names."""
    with closing(Reader(path)) as reader, reader.view() as view:
        return view.manifest.files()


def targets_of(path: Path) -> dict[Modality, float]:
    """What was asked for when the index was tuned, by kind of query."""
    reader = Reader(path)
    with reader.view() as view:
        (field,) = view.manifest.fields
    reader.close()
    assert all(field.is_promised(tuning) for tuning in field.tunings)
    return {tuning.asked: tuning.target for tuning in field.tunings}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with fast_folder() as folder:
        np.save(folder / "pictures.npy", clusters(1, ROWS))
        path = folder / "tuned"
        with mmsearch.create(path, model=fake_model(), recipe="IVF16,PQ8") as index:
            index.add_vectors(folder / "pictures.npy")
        assert run_and_kill(tune_index, path, EARLIER, after_s=None).stage is Stage.DONE
        yield Scene(folder, contents_of(path))


def kill_at_random(scene: Scene, kills: int, seed: int) -> None:
    """Kill tunes that have begun to measure, one after the other, then let one end."""
    rng, killed, path = random.Random(seed), 0, scene.fresh()
    lasts_s = duration_s(tune_index, scene.fresh(), NEW)
    while killed < kills:
        path = scene.fresh()
        death = run_and_kill(tune_index, path, NEW, after_s=rng.uniform(0, lasts_s))
        killed += death.stage is not Stage.DONE
        scene.check(path)
    scene.finish(path)


def kill_while_committing(scene: Scene, kills: int, seed: int) -> None:
    """Kill tunes at a call or return of their commit, which is too short for a clock."""
    calls = run_and_kill(tune_and_die, scene.fresh(), NEW, "nowhere", after_s=None).indexed
    assert calls > 100
    rng = random.Random(seed)
    for at in rng.sample(range(calls), min(kills, calls)):
        path = scene.fresh()
        assert run_and_kill(tune_and_die, path, NEW, at, after_s=None).stage is not Stage.DONE
        scene.check(path)
        scene.finish(path)


def test_killed_tunes_keep_the_earlier_tuning_or_have_the_new_one(scene: Scene) -> None:
    kill_at_random(scene, RANDOM_KILLS, seed=0)


def test_a_tune_can_be_killed_at_any_moment_of_its_commit(scene: Scene) -> None:
    kill_while_committing(scene, COMMIT_KILLS, seed=1)


@pytest.mark.parametrize(
    ("place", "tuned"),
    [
        ("CatalogWriter.write", False),
        ("Environment.write", True),
        ("write_spare", True),
        ("seal", True),
    ],
)
def test_one_transaction_decides(scene: Scene, place: str, tuned: bool) -> None:
    path = scene.fresh()
    assert run_and_kill(tune_and_die, path, NEW, place, after_s=None).stage is not Stage.DONE
    assert scene.check(path) == tuned
    scene.finish(path)


@pytest.mark.soak
def test_soak_of_tunes(scene: Scene) -> None:
    kill_at_random(scene, SOAK_KILLS, seed=2)
    kill_while_committing(scene, SOAK_KILLS, seed=3)
