"""Moving an index to another model: beside the old one, resumed after any stop, swapped at once."""

import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contents import Answers, Contents, answers_of, contents_of, differences, write_texts
from fakes import fake_model, newer_model
from killing import (
    Stage,
    duration_s,
    fast_folder,
    one_thread,
    reencode_index,
    run_and_kill,
    swap_and_die,
)
from media import picture, sound, text
from test_two_spaces import two_space_model

import mmsearch
from mmsearch import IndexLockedError, Modality, Model, ModelError, Progress, UsageError
from mmsearch.cli.app import run
from mmsearch.engine import ingest
from mmsearch.engine.reencode import Reencoder
from mmsearch.store.lock import WriterLock
from mmsearch.store.reader import Reader
from mmsearch.store.staging import STAGING, STAGING_LOCK

TEXTS = 12
RANDOM_KILLS = 2
SWAP_KILLS = 3


def make(folder: Path, sources: Path, model: Model, recipe: str | None = None) -> Path:
    with mmsearch.create(folder, model=model, recipe=recipe) as index:
        assert index.add(sources).failures == []
    return folder


def write_sources(folder: Path) -> Path:
    write_texts(folder, TEXTS, paragraphs=3)
    for colour, pitch in (("red", "high"), ("green", "low")):
        picture(folder / f"{colour}.png", colour)
        sound(folder / f"{pitch}.wav", pitch, seconds=7)
    rows = [{"image": f"{c}.png", "caption": f"a {c} card", "lang": "en"} for c in ("red", "green")]
    text(folder / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return write_sources(tmp_path / "sources")


@pytest.fixture
def old(tmp_path: Path, sources: Path) -> Path:
    return make(tmp_path / "index", sources, fake_model())


def is_moved(folder: Path) -> bool:
    reader = Reader(folder)
    try:
        with reader.view() as view:
            return view.manifest.spaces == newer_model().spaces
    finally:
        reader.close()


def move(folder: Path, **options: Any) -> mmsearch.Report:
    with mmsearch.open(folder) as index:
        return index.reencode(newer_model(), **options)


def check_moved(folder: Path, sources: Path) -> None:
    """An index is what one made afresh with the newer model is, ids apart; nothing is left over."""
    fresh = folder.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    make(fresh, sources, newer_model())
    assert mmsearch.verify(folder) == []
    assert not (folder / STAGING).exists()
    assert contents_of(folder) == contents_of(fresh)
    answers, expected = (answers_of(path, newer_model()) for path in (folder, fresh))
    assert len(expected) > TEXTS
    assert differences(answers, expected) == []
    for key, (_, numbers) in answers.items():
        np.testing.assert_allclose(numbers, expected[key][1], rtol=1e-5, atol=1e-5)


def stop_after(items: int) -> Callable[[Progress], None]:
    """Press Ctrl-C after some items."""

    def progress(done: Progress) -> None:
        if done.seen == items:
            raise KeyboardInterrupt

    return progress


def test_a_moved_index_equals_one_made_afresh(old: Path, sources: Path) -> None:
    with mmsearch.open(old, model=fake_model()) as index:
        rows = sources / "rows.jsonl"
        assert index.add(rows, text_columns=["caption"]).added == 2
        index.remove(rows)  # its vectors wait for a compaction
        before = index.info()
        report = index.reencode(newer_model())
        assert (report.updated, report.failures, report.missing) == (before.items, [], 0)
        assert index.info().spaces == newer_model().spaces
        assert index.search("word3", k=1)[0].item.path.name == "3.txt"
        assert index.add(sources).unchanged == before.items
    check_moved(old, sources)


def test_columns_rows_and_text_parts_move_along(tmp_path: Path, sources: Path) -> None:
    rows = sources / "rows.jsonl"
    folders = [tmp_path / "index", tmp_path / "fresh"]
    for folder, model in zip(folders, (fake_model(), newer_model()), strict=True):
        with mmsearch.create(folder, model=model) as index:
            index.add(rows, text_columns=["caption"])
    move(folders[0])
    assert contents_of(folders[0]) == contents_of(folders[1])
    with mmsearch.open(folders[0], model=newer_model()) as index:
        found = index.search("green", where="lang = 'en'", k=1)[0].item
        assert (found.row, dict(found.columns)) == ("2", {"lang": "en"})
        assert index.add(rows, text_columns=["caption"]).unchanged == 2


def test_the_recipe_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    sources, recipe = write_texts(tmp_path / "sources", 30, paragraphs=9), "IVF16,PQ8"
    with one_thread():
        old = make(tmp_path / "index", sources, fake_model(), recipe)
        fresh = make(tmp_path / "fresh", sources, newer_model(), recipe)
        move(old)
    assert mmsearch.verify(old) == []
    assert contents_of(old) == contents_of(fresh)
    with (
        mmsearch.open(old, model=newer_model()) as moved,
        mmsearch.open(fresh, model=newer_model()) as made,
    ):
        assert [field.recipe for field in moved.info().fields] == [recipe]
        for query in ("word3", "word17", "word29"):
            (hit,), (expected,) = (index.search(query, k=1) for index in (moved, made))
            assert hit.item.source == expected.item.source
            found, wanted = dict(hit.signals), dict(expected.signals)
            # Rows lie in another order, so another sample of them is the background.
            assert found.pop("standing") == pytest.approx(wanted.pop("standing"), rel=0.05)
            assert found == wanted


def test_a_recipe_that_does_not_fit_is_refused_before_any_work(
    tmp_path: Path, sources: Path
) -> None:
    old = make(tmp_path / "index", sources, fake_model(), "IVF16,PQ32")
    with pytest.raises(UsageError, match=r"IVF16,PQ32.*48 dimensions.*into a new folder"):
        move(old)
    assert not (old / STAGING).exists()


def test_a_second_move_does_nothing_but_clear_up(old: Path, tmp_path: Path) -> None:
    move(old)
    with mmsearch.open(old, model=newer_model()) as index:
        before = index.info()
        shutil.copytree(old, tmp_path / STAGING)
        shutil.copytree(tmp_path / STAGING, old / STAGING)  # as if killed right after the swap
        assert index.reencode().updated == 0
        assert not (old / STAGING).exists()
        assert replace(index.info(), commit=0) == replace(before, commit=0)
        shutil.copytree(tmp_path / STAGING, old / STAGING)
        index.remove("nothing")
        assert not (old / STAGING).exists()


def test_ctrl_c_keeps_what_is_finished(
    old: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "COMMIT_ITEMS", 4)
    before = contents_of(old)
    report = move(old, progress=stop_after(10))
    assert report.interrupted
    assert contents_of(old) == before
    report = move(old)
    assert (report.interrupted, report.updated + report.unchanged) == (False, len(before))
    assert report.unchanged >= 8
    check_moved(old, sources)


def change_sources(index: mmsearch.Index, sources: Path) -> None:
    """Change one file, add one, remove one, and touch one, in the folder and the index."""
    text(sources / "0.txt", "quite another word0")
    text(sources / "new.txt", "word99 is new")
    (sources / "1.txt").unlink()
    (sources / "2.txt").touch()
    index.remove(sources / "1.txt")
    index.add(sources)


def test_what_changes_between_two_runs_is_caught_up_with(old: Path, sources: Path) -> None:
    move(old, progress=stop_after(TEXTS))
    with mmsearch.open(old, model=fake_model()) as index:
        change_sources(index, sources)
    report = move(old)
    assert report.unchanged >= TEXTS - 4
    check_moved(old, sources)


def test_what_changes_during_a_run_is_caught_up_with(old: Path, sources: Path) -> None:
    with mmsearch.open(old, model=fake_model()) as index:

        def progress(done: Progress) -> None:
            if done.seen == TEXTS:
                change_sources(index, sources)

        move(old, progress=progress)
        with pytest.raises(ModelError, match="since it was opened; open it again"):
            index.add(sources)
    check_moved(old, sources)


def test_a_file_that_changed_since_it_was_indexed_is_known_as_it_is_now(
    old: Path, sources: Path
) -> None:
    text(sources / "0.txt", "quite another word0")
    move(old, progress=stop_after(TEXTS + 1))
    move(old)
    check_moved(old, sources)
    with mmsearch.open(old, model=newer_model()) as index:
        assert index.add(sources).updated == 0


def test_readers_have_the_old_model_until_the_swap(old: Path) -> None:
    expected = answers_of(old)
    ends: list[object] = []
    with mmsearch.open(old, model=fake_model()) as index:

        def keep_searching() -> None:
            try:
                while True:
                    for hit in index.search("word3", k=1000):
                        part, numbers = expected["word3", hit.item.source]
                        assert (hit.part, hit.chunk, hit.text) == part
                        assert hit.signals["cosine"] == pytest.approx(numbers[1], abs=1e-4)
            except BaseException as error:
                ends.append(error)

        threads = [threading.Thread(target=keep_searching) for _ in range(2)]
        for thread in threads:
            thread.start()
        move(old)
        for thread in threads:
            thread.join(30)
    assert [type(end) for end in ends] == [ModelError, ModelError], ends
    assert all("since it was opened; open it again" in str(end) for end in ends)


def test_nothing_is_lost_silently(old: Path, sources: Path) -> None:
    (sources / "0.txt").unlink()
    (sources / "red.png").write_bytes(b"no picture")
    for _ in range(2):  # it is tried again each time
        report = move(old)
        reasons = {failure.source: failure.reason for failure in report.failures}
        assert reasons.keys() == {str(sources / "0.txt"), str(sources / "red.png")}
        assert "No such file" in reasons[str(sources / "0.txt")]
        assert report.missing == 2
        assert not is_moved(old)
    picture(sources / "red.png", "blue")
    report = move(old, drop_missing=True)
    assert (report.missing, report.removed, len(report.failures)) == (0, 1, 1)
    check_moved(old, sources)


def test_an_item_that_loses_one_part_counts_as_missing(tmp_path: Path, sources: Path) -> None:
    old = tmp_path / "index"
    with mmsearch.create(old, model=fake_model()) as index:
        index.add(sources / "rows.jsonl", text_columns=["caption"])
    (sources / "red.png").unlink()
    assert move(old).missing == 1
    dropping = move(old, drop_missing=True, progress=stop_after(2))
    assert dropping.interrupted
    assert move(old).missing == 1  # what the run before has staged does not hide it
    assert move(old, drop_missing=True).removed == 0
    assert mmsearch.verify(old) == []
    with mmsearch.open(old, model=newer_model()) as index:
        assert index.info().items == 2
        assert {hit.item.row for hit in index.search("red", target="image")} == {"2"}


def test_a_model_without_a_modality_is_told_of_all_it_leaves_out(old: Path) -> None:
    without_sounds = Model("fake", newer_model().encoders[:2])
    assert without_sounds.fields(Modality.AUDIO) == ()
    with mmsearch.open(old) as index:
        with pytest.raises(UsageError, match="no vectors for audio; choose another model, or add"):
            index.reencode(without_sounds)
        assert index.info().moving_to is None
        assert index.reencode(without_sounds, drop_missing=True).removed == 2
        assert "audio" not in {field.name.modality for field in index.info().fields}
    assert mmsearch.verify(old) == []


def test_what_could_not_be_indexed_is_tried_with_the_new_model(tmp_path: Path) -> None:
    high = sound(tmp_path / "m/high.wav")
    text(tmp_path / "m/note.txt", "a note")
    with mmsearch.create(tmp_path / "i", model=Model("fake", fake_model().encoders[:2])) as index:
        assert len(index.add(tmp_path / "m").failures) == 1
        index.reencode(newer_model())
        assert index.add(tmp_path / "m").added == 1
        assert index.search(audio=high, target="audio")


def test_an_empty_index_moves(tmp_path: Path) -> None:
    with mmsearch.create(tmp_path / "i", model=fake_model()) as index:
        index.reencode(newer_model())
        assert index.model.spaces == newer_model().spaces
    assert mmsearch.verify(tmp_path / "i") == []


def test_an_unfinished_move_to_another_model_is_not_thrown_away(old: Path) -> None:
    move(old, progress=stop_after(5))
    with mmsearch.open(old) as index:
        with pytest.raises(UsageError, match=f"{old / STAGING}.*unfinished move.*delete this"):
            index.reencode(two_space_model())
        assert index.reencode(fake_model()).updated == 0
    assert (old / STAGING).is_dir()


def test_a_model_that_has_moved_is_known_under_its_new_name(old: Path, sources: Path) -> None:
    with mmsearch.open(old, model=fake_model()) as index:
        assert index.reencode(newer_model(), progress=stop_after(3)).interrupted
        assert index.info().moving_to == "fake"
    moved = replace(newer_model(), name="elsewhere")
    with mmsearch.open(old, model=fake_model()) as index:
        assert not index.reencode(moved).interrupted
    with mmsearch.open(old, model=moved) as index:
        info = index.info()
        assert (info.model, info.moving_to, info.spaces) == ("elsewhere", None, moved.spaces)
        before = info.items
        report = index.reencode(replace(moved, name="back"))
        assert (report.unchanged, report.updated) == (before, 0)
        info = index.info()
        assert (info.model, info.items) == ("back", before)
        assert index.search("red", target="image", k=1)
        index.add(sources)
    assert not mmsearch.verify(old)


def test_locks(old: Path) -> None:
    lock = WriterLock(old, STAGING_LOCK)
    with pytest.raises(IndexLockedError):
        move(old)
    lock.release()
    lock = WriterLock(old)
    with pytest.raises(IndexLockedError, match="try again"):
        move(old)  # only the swap needs the old index
    lock.release()
    assert move(old).updated == 0
    assert is_moved(old)


@dataclass
class Scene:
    """An index before its move, all staged, and what it holds before and after."""

    folder: Path
    sources: Path
    before: Contents = field(default_factory=dict)
    after: Contents = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)

    def fresh(self, name: str) -> Path:
        path = self.folder / "killed"
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(self.folder / name, path))

    def check(self, path: Path) -> bool:
        """After a kill an index is the old one or the new one, whole; whether it has moved."""
        assert mmsearch.verify(path) == []
        moved = is_moved(path)
        assert contents_of(path) == (self.after if moved else self.before)
        with mmsearch.open(path, model=newer_model() if moved else fake_model()) as index:
            assert index.search("word3", k=1)[0].item.path.name == "3.txt"
            assert len(index.search("dog", k=100, where="path LIKE '%.txt'")) == TEXTS
        return moved

    def finish(self, path: Path) -> None:
        """Run it once more, to the end."""
        move(path)
        assert mmsearch.verify(path) == []
        assert not (path / STAGING).exists()
        assert contents_of(path) == self.after
        assert differences(answers_of(path, newer_model()), self.answers) == []


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with fast_folder() as folder:
        made = Scene(folder, write_sources(folder / "sources"))
        made.before = contents_of(make(folder / "old", made.sources, fake_model()))
        new = make(folder / "new", made.sources, newer_model())
        made.after, made.answers = contents_of(new), answers_of(new, newer_model())
        staged = Path(shutil.copytree(folder / "old", folder / "staged"))
        lock = WriterLock(staged)
        with pytest.raises(IndexLockedError):
            move(staged)
        lock.release()
        yield made


def test_killed_moves_go_on(scene: Scene) -> None:
    rng = random.Random(0)
    duration_s(reencode_index, scene.fresh("old"))  # the first child waits for the fork server
    lasts_s = duration_s(reencode_index, scene.fresh("old"))
    killed = 0
    for _ in range(RANDOM_KILLS):
        path = scene.fresh("old")
        for _ in range(2):
            death = run_and_kill(reencode_index, path, after_s=rng.uniform(0, 0.6 * lasts_s))
            killed += death.stage is not Stage.DONE
            scene.check(path)
        scene.finish(path)
    assert killed > RANDOM_KILLS


@pytest.mark.parametrize(
    ("place", "moved"),
    [
        ("copy_vectors", False),
        ("CatalogWriter.write", False),
        ("Environment.write", True),
        ("write_spare", True),
        ("Writer.replace_items", True),
        ("adopt", True),
        ("remove_staging", True),
    ],
)
def test_a_swap_that_is_killed_has_happened_or_not(scene: Scene, place: str, moved: bool) -> None:
    path = scene.fresh("staged")
    assert run_and_kill(swap_and_die, path, place, after_s=None).stage is not Stage.DONE
    assert scene.check(path) == moved
    scene.finish(path)


def test_a_swap_can_be_killed_at_any_moment(scene: Scene) -> None:
    path, rng = scene.fresh("staged"), random.Random(1)
    calls = run_and_kill(swap_and_die, path, "nowhere", after_s=None).indexed
    assert calls > 1000
    for _ in range(SWAP_KILLS):
        path = scene.fresh("staged")
        death = run_and_kill(swap_and_die, path, rng.randrange(calls), after_s=None)
        assert death.stage is not Stage.DONE
        scene.check(path)
        with mmsearch.open(path, model=newer_model()) as index:
            index.remove("nothing")  # the next writer clears up, whoever it is
        scene.finish(path)


class Installed:
    """What ``mini`` loads: a package of an earlier version, then of a later one."""

    def __init__(self) -> None:
        self.model = fake_model()

    def load(self, name: str, **compute: object) -> Model:
        if name != "fake":
            raise ModelError(f"there is no model {name!r}")
        return self.model


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installed:
    package = Installed()
    monkeypatch.setattr("mmsearch.engine.opened.load_model", package.load)
    monkeypatch.delenv("MMSEARCH_INDEX", raising=False)
    monkeypatch.chdir(tmp_path)
    return package


def test_an_upgrade_from_the_command_line(
    old: Path, sources: Path, installed: Installed, capfd: pytest.CaptureFixture[str]
) -> None:
    def cli(*arguments: str) -> tuple[int, str]:
        code = run([*arguments, "--index", "./index"])
        return code, capfd.readouterr().err

    assert cli("query", "word3")[0] == 0
    code, err = cli("reencode")
    assert (code, err.count("\n")) == (0, 1)
    assert "has model fake (tests, 000000000000) already; nothing to do" in err
    installed.model = newer_model()
    code, err = cli("query", "word3")
    assert (code, err.count("\n")) == (1, 1)
    assert "made with fake (tests, 000000000000)" in err
    assert "'fake' is fake (tests, 111111111111) here" in err
    assert "run `mmsearch reencode --index ./index`" in err
    assert cli("info")[0] == 0
    assert cli("reencode", "--model", "absent")[0] == 1
    (sources / "0.txt").unlink()
    code, err = cli("reencode", "--report", "report.json")
    assert code == 1
    assert "1 items would lose what cannot be encoded any more" in err
    assert "--drop-missing" in err
    assert f"! {sources / '0.txt'}: No such file" in err
    assert json.loads(Path("report.json").read_text())["missing"] == 1
    code, err = cli("reencode", "--drop-missing")
    assert code == 0
    assert f"holds {TEXTS + 3} items of fake (tests, 111111111111)" in err
    assert cli("query", "word3")[0] == 0
    assert cli("verify")[0] == 0


def test_ctrl_c_at_the_command_line_says_how_to_go_on(
    old: Path,
    installed: Installed,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    installed.model = newer_model()
    with monkeypatch.context() as patched:
        patched.setattr(Reencoder, "_swap", interrupted)
        assert run(["reencode", "--index", "./index"]) == 130
    err = capfd.readouterr().err
    assert "interrupted: what was finished is kept" in err
    assert "run it again to continue" in err
    assert run(["reencode", "--index", "./index"]) == 0
    assert f"unchanged    {TEXTS + 4:>10}" in capfd.readouterr().err
