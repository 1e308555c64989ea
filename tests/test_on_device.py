"""Search on a torch device, a CPU where there is no GPU: torch computes the same for both."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import DIM, fake_model
from test_hubs import add
from test_pool import WORDS, crowded

import mmsearch
from mmsearch import Index, Modality, UsageError
from mmsearch.engine import hubs
from mmsearch.records import FieldName, FloatArray
from mmsearch.search import dense, effort
from mmsearch.store import field, on_device
from mmsearch.store.field import Field
from mmsearch.store.on_device import OnDevice

Make = Callable[..., Index]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RECIPE = "OPQ8,IVF8,PQ8x4"
QUERIES = [f"{one} {other}" for one, other in zip(WORDS, WORDS[7:], strict=False)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, and no field that is small enough to be scored whole."""
    monkeypatch.setattr(on_device, "_BLOCK_BYTES", 4 * DIM * 37)
    monkeypatch.setattr(dense, "EXACT_CANDIDATES", 0)


def rows_of(count: int, seed: int) -> FloatArray:
    """Unit vectors of which many are equal, as half floats have them."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, DIM))[rng.integers(0, count, count)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    halves: FloatArray = unit.astype(np.float16).astype(np.float32)
    return halves


@pytest.mark.parametrize("count", [1, 10, 60, 500])
@pytest.mark.parametrize("biased", [False, True])
def test_what_may_be_among_the_best_holds_the_best_and_little_else(
    count: int, biased: bool
) -> None:
    rng = np.random.default_rng(count)
    base, queries = rows_of(300, 0), rows_of(9, 1)
    allowed, bias = rng.random(300) < 0.7, rng.random(300).astype(np.float32)
    parts = [torch.from_numpy(part).half().to(DEVICE) for part in np.split(base, [100, 101, 240])]
    near = OnDevice(parts).near_top(queries, count, allowed, bias if biased else None)
    scores = queries.astype(np.float64) @ base.astype(np.float64).T - biased * bias
    scores[:, ~allowed] = -np.inf
    for mine, found in zip(scores, near, strict=True):
        least = np.sort(mine)[::-1][min(count, allowed.sum()) - 1]
        assert {*np.flatnonzero(mine >= least)} <= {*found.tolist()}
        assert (mine[found] >= least - 1e-3).all()
        assert (np.diff(found) > 0).all()


def answers(index: Index, **options: object) -> list[list[tuple[str, float, float]]]:
    found = index.search_many(QUERIES, k=7, **options)  # type: ignore[arg-type]
    return [[(hit.item.source, hit.score, hit.signals["cosine"]) for hit in hits] for hits in found]


def test_answers_are_those_of_exact_search(
    make_index: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(recipe=RECIPE)
    monkeypatch.setattr(effort, "FIRST_DEPTH", 10_000)

    def check(**options: object) -> None:
        """Whether what a device finds is what is found where every row is a candidate."""
        assert answers(opened, **options) == answers(index, **options)
        assert "ann" not in vars(field_of(opened))  # the codes were not even read

    with mmsearch.open(index.path, model=fake_model(), search_device=DEVICE) as opened:
        for items in (crowded(120), crowded(180)[120:]):
            index.add(items)
            check()
        index.remove([f"i{n}" for n in range(0, 180, 3)])
        check()
        check(where="path in ('i7', 'i8', 'i10')")
        assert any(answers(opened, where="path in ('i7', 'i8', 'i10')"))


def test_scores_are_corrected_for_hubs_there_too(
    make_index: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "LEAST", 40)
    index = make_index(recipe=RECIPE)
    for seed, modality in enumerate((Modality.IMAGE, Modality.TEXT)):
        add(index, tmp_path, modality, 300, seed)
    monkeypatch.setattr(effort, "FIRST_DEPTH", 10_000)
    with mmsearch.open(index.path, model=fake_model(), search_device=DEVICE) as opened:
        found = answers(opened, target="image")
        assert found == answers(index, target="image")
        assert found != answers(index, target="image", hubs="none")
        with pytest.raises(UsageError, match="hubs qbnorm: not with a search device"):
            opened.search(QUERIES[0], target="image", hubs="qbnorm")


def field_of(index: Index) -> Field:
    with index._reader.view() as view:
        return view.state.fields[FieldName("fake", Modality.TEXT)]


def test_a_commit_copies_only_what_is_new(make_index: Make) -> None:
    index = make_index(recipe=RECIPE)
    index.add(crowded(120))
    with mmsearch.open(index.path, model=fake_model(), search_device=DEVICE) as opened:
        opened.search("word1")
        (before,) = field_of(opened).segments
        index.add(crowded(130)[120:])
        opened.search("word1")
        kept, new = field_of(opened).segments
        assert kept.on_device is before.on_device
        assert len(new.on_device) == new.rows


def test_what_has_no_room_is_searched_by_its_codes(
    make_index: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fits(size: int, device: torch.device) -> bool:
        asked.append(size)
        return False

    monkeypatch.setattr(field, "fits", fits)
    index = make_index(recipe=RECIPE)
    index.add(crowded(120))
    with mmsearch.open(index.path, model=fake_model(), search_device=DEVICE) as opened:
        assert answers(opened) == answers(index)
        rows = field_of(opened).rows
        assert asked == [2 * DIM * rows, (4 + 8) * rows]


def test_a_device_that_is_not_there_is_refused(make_index: Make) -> None:
    path = make_index().path
    with pytest.raises(UsageError, match="device 'gpu7' cannot be used"):
        mmsearch.open(path, model=fake_model(), search_device="gpu7")
    with pytest.raises(UsageError, match="device 'gpu7' cannot be used"):
        make_index("other", search_device="gpu7")
    assert not (path.parent / "other").exists()
