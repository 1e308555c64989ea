"""Learned fusion scorers: trained by torch, run in NumPy, kept where they are better."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeEncoder, NewerEncoder
from PIL import Image

import mmsearch
from mmsearch import Hit, Index, Item, Modality, Model, Part, UsageError
from mmsearch.cli.app import run
from mmsearch.cli.train_printing import fusion_lines
from mmsearch.errors import IndexLockedError, TrainingError
from mmsearch.fuse.candidates import COLUMNS, Candidates, put_first, signal_rows
from mmsearch.fuse.learned import Learned, learned_share
from mmsearch.records import FloatArray
from mmsearch.store.manifest import Manifest
from mmsearch.store.writer import Writer
from mmsearch.train.fusion import FusionReport, fit, train_fusion
from mmsearch.train.fusion.examples import Example
from mmsearch.train.fusion.fit import FusionTask, collated
from mmsearch.train.fusion.groups import groups, split
from mmsearch.train.fusion.network import Network, arrays, network
from mmsearch.train.fusion.report import scored
from mmsearch.train.splits import Split

IMAGE, TEXT = Modality.IMAGE, Modality.TEXT
COUNT = 150


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """A hundred queries take fewer steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STEPS", {Learned.MLP: 150, Learned.ATTENTION: 50})
        yield


class NumberEncoder(FakeEncoder):
    """A picture shows the thing whose number its red is."""

    def prepare(self, decoded: Any) -> list[str]:
        if self.modality is IMAGE:
            return [f"thing{np.asarray(decoded)[0, 0, 0]}"]
        return super().prepare(decoded)


def number_model() -> Model:
    return Model("fake", (NumberEncoder(TEXT), NumberEncoder(IMAGE)))


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of pictures whose captions name other things, and pairs to learn it.

    ``pairs.jsonl`` says that the pictures are right, ``noise.jsonl`` that anything may be.
    """
    folder = tmp_path_factory.mktemp("lying")
    items = []
    for n in range(COUNT):
        path = folder / f"{n}.png"
        Image.new("RGB", (4, 4), (n, 0, 0)).save(path)
        caption = Part("caption", TEXT, text=f"thing{(n + 40) % COUNT}")
        items.append(Item(f"p{n}", (Part("photo", IMAGE, path=str(path)), caption)))
    with mmsearch.create(folder / "index", model=number_model()) as index:
        assert index.add(items).added == COUNT
    rng = np.random.default_rng(1)
    noise = [(f"thing{a} thing{b}", f"p{c}") for a, b, c in rng.integers(COUNT, size=(250, 3))]
    pairs(folder / "pairs.jsonl", [(f"thing{n}", f"p{n}") for n in range(COUNT)])
    pairs(folder / "noise.jsonl", noise)
    return folder


def pairs(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("\n".join(json.dumps({"text": q, "relevant": item}) for q, item in rows))
    return path


@pytest.fixture(scope="module", params=list(Learned))
def trained(request: pytest.FixtureRequest, lying: Path) -> tuple[Learned, Path, FusionReport]:
    """An index with a scorer."""
    path = Path(shutil.copytree(lying / "index", lying / request.param))
    with mmsearch.open(path, model=number_model()) as index:
        report = train_fusion(index, lying / "pairs.jsonl", scorer=request.param, target="image")
    return request.param, path, report


@pytest.fixture
def opened(lying: Path, tmp_path: Path) -> Iterator[Index]:
    """The index, without a scorer."""
    path = shutil.copytree(lying / "index", tmp_path / "index")
    with mmsearch.open(path, model=number_model()) as index:
        yield index


def manifest(index: Index) -> Manifest:
    with index._reader.view() as view:
        return view.manifest


def names(hits: list[Hit]) -> list[str]:
    return [hit.item.source for hit in hits]


def candidates(count: int, seed: int) -> Candidates:
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.standard_normal(count)).astype(np.float32)
    likeness = rng.standard_normal((3, count, min(count, 32)))
    return Candidates(
        scores,
        rng.standard_normal((count, len(COLUMNS))).astype(np.float32),
        likeness.astype(np.float16),
    )


def example(count: int, seed: int, *relevant: int) -> Example:
    grades = np.zeros(count, np.int64)
    grades[0] = 1
    return Example("text->image", dict.fromkeys(relevant, 1), candidates(count, seed), grades)


def stirred(kind: Learned) -> Network:
    """A network with something in all its weights."""
    some = candidates(200, 9)
    torch.manual_seed(0)
    made = network(kind, some.signals)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("kind", Learned)
def test_numpy_gives_what_torch_gives(kind: Learned) -> None:
    made = stirred(kind)
    some = [example(count, seed) for seed, count in enumerate((200, 1, 70, 120))]
    with torch.no_grad():
        expected = made(collated(some)).numpy()
    for row, one in zip(expected, some, strict=True):
        found = scored(kind, arrays(made), one)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, row[: len(found)], atol=1e-5)
        assert np.abs(found - one.candidates.scores).max() > 0.1
        assert np.all(row[len(found) :] < -1e8)


@pytest.mark.parametrize("kind", Learned)
def test_a_scorer_starts_as_the_default(kind: Learned) -> None:
    some = candidates(130, 0)
    fresh = arrays(network(kind, some.signals))
    np.testing.assert_array_equal(learned_share(kind, fresh, some), np.zeros(130))


def test_attention_judges_candidates_against_each_other() -> None:
    some, weights = candidates(40, 0), arrays(stirred(Learned.ATTENTION))
    alone = learned_share(Learned.ATTENTION, weights, some)
    signals = some.signals.copy()
    signals[0] += 1
    other = Candidates(some.scores, signals, some.likeness)
    assert np.all(learned_share(Learned.ATTENTION, weights, other)[1:] != alone[1:])
    np.testing.assert_array_equal(
        learned_share(Learned.MLP, arrays(stirred(Learned.MLP)), other)[1:],
        learned_share(Learned.MLP, arrays(stirred(Learned.MLP)), some)[1:],
    )


def floats(*values: float) -> FloatArray:
    return np.array(values, np.float32)


def test_what_is_not_judged_stays_behind_in_its_order() -> None:
    values, first = floats(5, 1, 4, 2, 3), np.array([0, 2, 4])
    found = values + put_first(values, first, floats(-12, 5, -3))
    assert np.argsort(-found).tolist() == [2, 4, 0, 3, 1]
    assert put_first(values, first, floats(2, 5, 5)).tolist() == [2, 0, 5, 0, 5]
    assert put_first(values[:1], first[:1], floats(3)).tolist() == [3]


def test_signals_say_what_is_missing() -> None:
    parts = np.array([[2, -np.inf, -np.inf], [1, -np.inf, 0.5]], np.float32)
    rows = signal_rows(
        floats(3, 2), floats(1, 0), floats(0.2, 0), parts, np.zeros((2, 3), np.float32), 10
    )
    named = {name: rows[:, at].tolist() for at, name in enumerate(COLUMNS)}
    assert named["behind the first"] == [0, -1]
    assert named["evidence by audio"] == [0, 0.5]
    assert named["has audio"] == [0, 1]
    assert named["has image"] == [0, 0]


def test_examples_with_an_item_in_common_are_for_the_same() -> None:
    rng = np.random.default_rng(0)
    some = [example(3, 0, *rng.integers(300, size=rng.integers(1, 3))) for _ in range(200)]
    grouped = groups(some)
    found = split(grouped, 0)
    assert sorted(np.concatenate(list(found.values()))) == list(range(200))
    items = {name: {i for n in found[name] for i in some[n].relevant} for name in Split}
    assert not items[Split.TRAIN] & items[Split.TEST]
    assert not items[Split.TRAIN] & items[Split.VALIDATION]
    assert not items[Split.VALIDATION] & items[Split.TEST]
    assert 20 <= len(found[Split.TEST]) <= 40


def test_what_hangs_together_is_trained_on() -> None:
    some = [example(3, 0, 0, n) for n in range(150)] + [example(3, 0, 1000 + n) for n in range(60)]
    found = split(groups(some), 0)
    assert set(range(150)) <= set(found[Split.TRAIN].tolist())
    with pytest.raises(TrainingError, match="150 queries .*, 0 of which can be held out, are too"):
        split(groups(some[:150]), 0)


def test_a_scorer_that_is_better_is_kept(trained: tuple[Learned, Path, FusionReport]) -> None:
    kind, path, report = trained
    assert report.helped
    assert json.loads("".join(fusion_lines(report, as_json=True)))["learned"]["hit_at_1"] > 0.9
    assert report.default.hit_at_1 < 0.3 < 0.9 < report.learned.hit_at_1
    assert report.directions == ("text->image",)
    assert report.queries + report.held_out == COUNT
    assert (report.hidden, report.rare, report.failures) == (0, 0, ())
    asked = [f"thing{n}" for n in range(0, COUNT, 7)]
    with mmsearch.open(path, model=number_model()) as index:
        many = index.search_many(asked, target="image", rerank=kind)
        assert many == [index.search(text, target="image", rerank=kind) for text in asked]
        assert [names(hits)[0] for hits in many] == [f"p{n}" for n in range(0, COUNT, 7)]
        scores = [hit.score for hit in many[0]]
        assert scores == sorted(scores, reverse=True)
        every = index.search(asked[1], target="image", rerank=kind, k=COUNT)
        assert len(every) == COUNT
        assert every[:10] == many[1]
        assert names(index.search(asked[1], target="image"))[0] == "p117"  # by its caption
        assert sum(every[0].shares.values()) == pytest.approx(every[0].score, abs=1e-4)
        assert every[0].shares["learned"] > 0


def test_other_directions_are_scored_by_default(
    trained: tuple[Learned, Path, FusionReport],
) -> None:
    kind, path, _ = trained
    with mmsearch.open(path, model=number_model()) as index:
        picture = path.parent / "3.png"
        for asked, options in (
            ({"image": picture}, {"target": "image"}),
            ({"text": "thing4"}, {}),
            ({"text": "thing4", "exclude": "thing9"}, {"target": "image"}),
            ({"vector": np.ones(32)}, {"target": "image"}),
        ):
            default = index.search(**asked, **options)  # type: ignore[arg-type]
            assert index.search(**asked, **options, rerank=kind) == default  # type: ignore[arg-type]


def test_a_scorer_outlives_a_compaction_but_not_another_model(
    trained: tuple[Learned, Path, FusionReport], tmp_path: Path
) -> None:
    kind, path, _ = trained
    path = Path(shutil.copytree(path, tmp_path / "index"))
    with mmsearch.open(path, model=number_model()) as index:
        before = index.search("thing9", target="image", rerank=kind)
        index.compact()
        assert index.search("thing9", target="image", rerank=kind) == before
        assert index.verify() == []
        newer = Model("fake", (NewerEncoder(TEXT), NumberImage()))
        index.reencode(newer)
        assert manifest(index).scorers == ()
        assert not list(path.glob("*.scorer"))
        with pytest.raises(UsageError, match=f"no {kind} scorer"):
            index.search("thing9", target="image", rerank=kind)


class NumberImage(NewerEncoder):
    """Another version of the model."""

    def __init__(self) -> None:
        super().__init__(IMAGE)

    def prepare(self, decoded: Any) -> list[str]:
        return [f"thing{np.asarray(decoded)[0, 0, 0]}"]


def test_a_damaged_scorer_is_named_and_dropped(
    trained: tuple[Learned, Path, FusionReport], tmp_path: Path
) -> None:
    kind, path, _ = trained
    path = Path(shutil.copytree(path, tmp_path / "index"))
    (file,) = path.glob("*.scorer")
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    assert [damage.where for damage in mmsearch.verify(path)] == [file.name]
    with mmsearch.open(path, model=number_model()) as index:
        with pytest.raises(mmsearch.DamagedIndexError, match=f"{file.name}.*mmsearch repair"):
            index.search("thing9", target="image", rerank=kind)
        (line,) = index.repair()
        assert f"dropped the {kind} scorer" in line
        assert names(index.search("thing9", target="image", k=1)) == ["p119"]
    assert mmsearch.verify(path) == []
    assert not file.exists()


def test_an_index_without_a_scorer_says_how_to_get_one(opened: Index) -> None:
    expected = "this index has no mlp scorer; train one with `mmsearch train fusion`"
    with pytest.raises(UsageError, match=expected):
        opened.search("thing1", rerank="mlp")
    with pytest.raises(UsageError, match="scorer is 'magic'; choose one of mlp, attention"):
        train_fusion(opened, "nowhere.jsonl", scorer="magic")


def test_what_cannot_be_learned_changes_nothing(opened: Index, lying: Path) -> None:
    before = manifest(opened)
    report = train_fusion(opened, lying / "noise.jsonl", target="image")
    assert not report.helped
    assert manifest(opened) == before
    assert not list(opened.path.glob("*.scorer"))


def test_queries_about_what_is_not_there_teach_nothing(opened: Index, tmp_path: Path) -> None:
    gone = pairs(tmp_path / "gone.jsonl", [(f"thing{n}", f"gone{n}") for n in range(COUNT)])
    with pytest.raises(TrainingError, match="0 queries with a relevant item"):
        train_fusion(opened, gone)


def test_some_rows_are_left_out_and_counted(opened: Index, lying: Path, tmp_path: Path) -> None:
    rows = (lying / "pairs.jsonl").read_text().splitlines()
    rows += [json.dumps({"text": f"more {n}", "relevant": f"gone{n}"}) for n in range(7)]
    rows += [json.dumps({"image": str(lying / f"{n}.png"), "relevant": f"p{n}"}) for n in range(5)]
    rows += [json.dumps({"image": str(tmp_path / "lost.png"), "relevant": "p1"})]
    rows += [json.dumps({"text": "thing1", "relevant": "p2"})]  # chosen, too
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(rows))
    report = train_fusion(opened, path, target="image")
    assert (report.hidden, report.rare) == (7, 5)
    assert "lost.png" in report.failures[0].reason
    assert report.queries + report.held_out == COUNT


def test_ctrl_c_leaves_nothing(
    opened: Index, lying: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, backward = manifest(opened), FusionTask.backward

    def stopped(task: FusionTask, step: int) -> float:
        if step == 3:
            raise KeyboardInterrupt
        return backward(task, step)

    monkeypatch.setattr(FusionTask, "backward", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_fusion(opened, lying / "pairs.jsonl", target="image")
    assert manifest(opened) == before
    assert not list(opened.path.glob("*.scorer"))
    assert not list(tmp_path.glob("mmsearch-fusion-*"))
    Writer(opened.path).close()  # and nobody holds the lock


def test_only_one_writes(opened: Index, lying: Path) -> None:
    writer = Writer(opened.path)
    with pytest.raises(IndexLockedError):
        train_fusion(opened, lying / "pairs.jsonl")
    writer.close()


def test_the_command_says_what_became_of_it(
    lying: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = shutil.copytree(lying / "index", tmp_path / "index")
    fake_opening(monkeypatch)
    command = ["train", "fusion", "--index", str(path), "--target", "image", "--pairs"]
    assert run([*command, str(lying / "noise.jsonl")]) == 1
    assert "not kept, it does not beat the default on held-out" in capsys.readouterr().out
    assert run([*command, str(lying / "pairs.jsonl")]) == 0
    assert "search text->image with --rerank mlp" in capsys.readouterr().out
    assert run(["info", "--index", str(path)]) == 0
    assert "scorer mlp: text->image" in capsys.readouterr().out
    asked = ["query", "thing5", "--index", str(path), "--target", "image", "--rerank", "mlp"]
    assert run([*asked, "-k", "1"]) == 0
    assert "5.png" in capsys.readouterr().out


def fake_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands open indexes with the fake model."""
    from mmsearch.engine import opening

    real = opening.open_index

    def open_index(path: Path, model: Model | None = None, **options: Any) -> Index:
        return real(path, model=number_model())

    monkeypatch.setattr(opening, "open_index", open_index)


def test_searching_needs_no_torch(trained: tuple[Learned, Path, FusionReport]) -> None:
    kind, path, _ = trained
    code = (
        "import sys; from fakes import fake_model; import mmsearch; "
        f"index = mmsearch.open({str(path)!r}, model=fake_model()); "
        f"index.search('thing1', target='image', rerank={str(kind)!r}); "
        "print('torch' in sys.modules)"
    )
    folder = Path(__file__).parent
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
