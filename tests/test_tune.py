"""Tuning: what is promised is measured on other queries, kept, and used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fakes import DIM, fake_model

import mmsearch
from mmsearch import Modality, UsageError
from mmsearch.engine import tuning
from mmsearch.engine.bank import queries
from mmsearch.records import FieldName, FloatArray
from mmsearch.search.dense import find_candidates
from mmsearch.search.effort import Effort, effort
from mmsearch.search.tuning import Measured, cheapest, exact, measure
from mmsearch.store.field import Field
from mmsearch.store.manifest import FieldInfo
from mmsearch.store.reader import Reader
from mmsearch.store.selection import Selection

ROWS = 3_000
RECIPE = "IVF32,PQ8"
IMAGES = FieldName("fake", Modality.IMAGE)


def clusters(seed: int, count: int) -> FloatArray:
    """Vectors around 50 points: (count, dim), L2-normalised rows."""
    centres = np.random.default_rng(0).standard_normal((50, DIM))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(50, size=count)] + 0.6 * rng.standard_normal((count, DIM))
    unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "QUERIES", 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of pictures' vectors, of which some are removed."""
    home = tmp_path_factory.mktemp("tune")
    np.save(home / "pictures.npy", clusters(1, ROWS))
    np.save(home / "gone.npy", clusters(2, 200))
    with mmsearch.create(home / "index", model=fake_model(), recipe=RECIPE) as index:
        index.add_vectors([home / "pictures.npy", home / "gone.npy"])
        index.remove(home / "gone.npy")
    return home / "index"


@pytest.fixture
def index(folder: Path) -> Iterator[mmsearch.Index]:
    with mmsearch.open(folder, model=fake_model()) as opened:
        yield opened


@contextmanager
def looking(folder: Path) -> Iterator[tuple[Field, Selection]]:
    """The field of pictures as it is now, and which of its rows are alive."""
    reader = Reader(folder)
    with reader.view() as view:
        yield view.state.fields[IMAGES], view.alive(IMAGES)
    reader.close()


def brute(queries: FloatArray, vectors: FloatArray) -> list[set[int]]:
    base = vectors.astype(np.float16).astype(np.float32)
    return [set(row) for row in np.argsort(-(queries @ base.T), axis=1)[:, :10].tolist()]


def test_the_exact_nearest_are_those_of_all_live_vectors(folder: Path) -> None:
    asked = clusters(3, 40)
    with looking(folder) as (field, alive):
        found = exact(field, asked, 10, alive, None)
        vectors = np.concatenate([rows for _, rows in field.blocks()])[alive.rows]
        assert alive.count == ROWS
        assert [set(row) for row in found.tolist()] == [
            set(alive.rows[list(row)].tolist()) for row in brute(asked, vectors)
        ]
        assert (exact(field, asked, ROWS + 5, alive, None)[:, ROWS:] == -1).all()


def test_what_is_measured_is_what_a_search_finds(folder: Path) -> None:
    asked = clusters(4, 60)
    with looking(folder) as (field, alive):
        truth = exact(field, asked, 10, alive, None)
        for nprobe, reach in ((1, 0.25), (4, 0.5), (32, 0.25)):
            for one in measure(field, asked, truth, alive, nprobe, reach):
                found = find_candidates(field, asked, one.effort, alive)
                shares = [
                    len(np.intersect1d(mine.ids[:10], field.ids[right])) / 10
                    for mine, right in zip(found, truth, strict=True)
                ]
                assert one.ann_recall == pytest.approx(np.mean(shares), abs=0.002)


def test_the_cheapest_effort_that_keeps_the_target_is_chosen() -> None:
    def point(nprobe: int, depth: int, share: float, reach: float = 0.25) -> Measured:
        return Measured(Effort(nprobe, depth, reach), share, 0.001)

    tried = [
        point(1, 100, 0.7),
        point(2, 100, 0.9505),  # above the target, but not by enough to promise it
        point(2, 200, 0.96),
        point(4, 100, 0.97),
        point(4, 200, 0.99),
        point(4, 100, 0.96, reach=0.5),
    ]
    seconds = {Effort(2, 200, 0.25): 3.0, Effort(4, 100, 0.25): 2.0, Effort(4, 100, 0.5): 1.0}
    assert cheapest(tried[:5], 0.95, seconds.__getitem__) == tried[3]
    assert cheapest(tried, 0.95, seconds.__getitem__) == tried[5]
    assert cheapest(tried, 0.995, seconds.__getitem__) is None


def test_tuning_and_its_check_are_of_searches_without_a_device(folder: Path) -> None:
    with mmsearch.open(folder, model=fake_model(), search_device="cpu") as opened:
        opened.search(vector=clusters(3, 1)[0], target="image")
        tuned, checked = opened.tune(0.9), opened.check_tuning()
        for one, now in zip(tuned, checked, strict=True):
            assert one.tuning is not None and now.ann_recall == pytest.approx(
                one.ann_recall, abs=0.03
            )


def test_a_promise_is_kept_on_fresh_queries(index: mmsearch.Index, folder: Path) -> None:
    lines: list[str] = []
    tuned = index.tune(0.9, progress=lines.append)
    assert [(one.asked, one.field) for one in tuned] == [
        (Modality.TEXT, IMAGES),
        (Modality.IMAGE, IMAGES),
    ]
    assert lines == [f"{one.asked} to {one.field}: 3,200 vectors, {RECIPE}" for one in tuned]
    for one in tuned:
        assert one.tuning is not None
        assert 0.87 < one.tuning.promised <= 1
        assert one.tuning.curve
    for one in index.check_tuning():
        assert one.tuning is not None
        assert one.ann_recall == pytest.approx(one.tuning.promised, abs=0.03)
    promises = index.info().fields[0].promises
    assert {p.asked: (p.nprobe, p.depth, p.holds) for p in promises} == {
        one.asked: (one.tuning.nprobe, one.tuning.depth, True) for one in tuned if one.tuning
    }
    assert mmsearch.verify(folder) == []


def test_searches_take_the_effort_of_their_kind_of_query(
    index: mmsearch.Index, folder: Path
) -> None:
    tuned = {one.asked: one.tuning for one in index.tune(0.9)}
    text, image = tuned[Modality.TEXT], tuned[Modality.IMAGE]
    assert text and image
    with looking(folder) as (field, _):
        assert effort(field, [Modality.TEXT]) == Effort(text.nprobe, text.depth, text.reach)
        assert effort(field, {Modality.IMAGE}) == Effort(image.nprobe, image.depth, image.reach)
        first = max(text, image, key=lambda one: one.nprobe)
        most = Effort(first.nprobe, max(text.depth, image.depth), first.reach)
        assert effort(field, [Modality.TEXT, Modality.IMAGE]) == effort(field, ()) == most


def test_after_compaction_the_effort_stays_and_the_promise_goes(tmp_path: Path) -> None:
    np.save(tmp_path / "pictures.npy", clusters(1, 1_000))
    with mmsearch.create(tmp_path / "index", model=fake_model(), recipe=RECIPE) as index:
        index.add_vectors(tmp_path / "pictures.npy")
        index.tune(0.8)
        before = index.info().fields[0].promises
        index.compact()
        after = index.info().fields[0].promises
        assert [p.nprobe for p in after] == [p.nprobe for p in before]
        assert all(p.holds for p in before) and not any(p.holds for p in after)


def test_a_target_out_of_reach_changes_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).standard_normal((6_000, DIM)))
    with mmsearch.create(tmp_path / "index", model=fake_model(), recipe="IVF8,PQ1") as index:
        index.add_vectors(tmp_path / "noise.npy")
        found = index.tune(0.999)
        assert all(one.tuning is None and 0 < one.ann_recall < 0.999 for one in found)
        assert index.info().fields[0].promises == ()


class TestRecipes:
    """Other codes, tried beside the present ones."""

    @pytest.fixture
    def coarse(self, tmp_path: Path) -> Iterator[mmsearch.Index]:
        """An index whose codes are too small for what is asked for."""
        np.save(tmp_path / "pictures.npy", clusters(1, 1_000))
        with mmsearch.create(tmp_path / "index", model=fake_model(), recipe="IVF16,PQ1") as index:
            index.add_vectors(tmp_path / "pictures.npy")
            yield index

    def test_codes_that_keep_the_promise_are_kept(
        self, coarse: mmsearch.Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mmsearch.search.tuning.DEPTHS", (10, 20))
        assert all(one.tuning is None for one in coarse.tune(0.95))
        lines: list[str] = []
        found = coarse.tune(0.95, recipes=["IVF16,SQ8", "IVF16,PQ2"], progress=lines.append)
        assert all(one.tuning and one.recipe == "IVF16,SQ8" for one in found)
        assert f"{IMAGES} as IVF16,PQ2" in lines
        (described,) = coarse.info().fields
        assert (described.recipe, all(p.holds for p in described.promises)) == ("IVF16,SQ8", True)
        assert mmsearch.verify(coarse.path) == []
        with looking(coarse.path) as (field, _):
            files = {path.name for path in coarse.path.glob("*.code*")}
            assert files == {field.info.codebook.name, field.info.segments[0].codes.name}  # type: ignore[union-attr]

    def test_the_fastest_of_those_that_keep_it_is_chosen(self) -> None:
        def tuned(ms: float, kept: object = True) -> tuning.Tuned:
            return tuning.Tuned(IMAGES, Modality.TEXT, "", kept, 1.0, ms)  # type: ignore[arg-type]

        slow, fast = [tuned(3.0), tuned(1.0)], [tuned(1.0), tuned(2.0)]
        missing = [tuned(0.0, None), tuned(0.1)]
        assert min((missing, slow, fast), key=tuning._cost) is fast

    def test_what_was_chosen_outlives_compaction_and_growth(
        self, coarse: mmsearch.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mmsearch.search.tuning.DEPTHS", (10, 20))
        coarse.tune(0.95, recipes=["IVF16,SQ8"])
        with looking(coarse.path) as (field, _):
            tuned = effort(field, [Modality.TEXT])
        coarse.compact()
        with looking(coarse.path) as (field, _):
            assert field.info.recipe == "IVF16,SQ8"
            assert effort(field, [Modality.TEXT]) == tuned
        np.save(tmp_path / "more.npy", clusters(3, 8_000))
        coarse.add_vectors(tmp_path / "more.npy")
        assert field_info(coarse).recipe == "IVF512,SQ8"  # as many lists as a field of 9,000 gets
        coarse.remove([tmp_path / "pictures.npy", tmp_path / "more.npy"])
        coarse.compact()
        assert field_info(coarse).recipe == "exact"

    def test_what_cannot_be_tried_is_refused(
        self, coarse: mmsearch.Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mmsearch.search.tuning.DEPTHS", (10, 20))
        before = files_of(coarse)
        with pytest.raises(UsageError, match="1,000 vectors, and it needs 2,048"):
            coarse.tune(0.9, recipes=["IVF2048,SQ8"])
        with pytest.raises(UsageError, match="not a FAISS factory string"):
            coarse.tune(0.9, recipes=["IVF16,SQ8", "PQ8"])
        assert all(one.tuning is None for one in coarse.tune(0.9999, recipes=["IVF8,PQ1"]))
        assert files_of(coarse) == before

    def test_fields_that_a_recipe_does_not_suit_stay_as_they_are(
        self, coarse: mmsearch.Index, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "few.npy", clusters(5, 260))
        coarse.add_vectors(tmp_path / "few.npy", modality="audio")
        tuned = coarse.tune(0.5, recipes=["IVF512,SQ8"])
        assert {one.recipe for one in tuned if one.field.modality is Modality.AUDIO} == {
            "IVF16,PQ1"
        }

    def test_a_budget_says_how_large_codes_are(self, tmp_path: Path) -> None:
        with (
            mmsearch.create(tmp_path / "index", model=fake_model(), memory="1MB") as index,
            pytest.raises(UsageError, match="budget of memory"),
        ):
            index.tune(0.9, recipes=["IVF16,SQ8"])


def files_of(index: mmsearch.Index) -> set[str]:
    return {path.name for path in index.path.glob("*.code*")}


def field_info(index: mmsearch.Index) -> FieldInfo:
    with looking(index.path) as (field, _):
        return field.info


def test_an_exact_field_needs_no_tuning(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", clusters(1, 50))
    with mmsearch.create(tmp_path / "index", model=fake_model()) as index:
        index.add_vectors(tmp_path / "few.npy")
        assert index.tune() == index.check_tuning() == []


@pytest.mark.parametrize("share", [0, 1, -0.5, 95])
def test_shares_that_make_no_sense_are_refused(index: mmsearch.Index, share: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        index.tune(share)


def test_queries_of_ones_own(index: mmsearch.Index) -> None:
    own = [f"word{n}" for n in range(500)]
    text = index.tune(0.9, queries=own)[0].tuning
    assert text and text.queries == 250
    with pytest.raises(UsageError, match="300 queries are too few: give 400"):
        index.tune(0.9, queries=own[:300] * 2)


def test_the_bank_asks_as_people_do() -> None:
    asked = queries(4_000, seed=0)
    assert len(set(asked)) == 4_000
    assert asked == queries(4_000, seed=0)
    fresh = set(queries(4_000, seed=1))
    assert len(fresh & set(asked)) < 1_000
    assert not [text for text in asked if "{" in text or "a o" in text.split(" and ")[0][:3]]
    assert {"an old man", "an owl"} & {" ".join(t.split()[:k]) for t in asked for k in (2, 3)}
