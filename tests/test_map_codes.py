"""Codes that stay on disk: the same answers as from memory, through every kind of change."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import fake_model
from test_on_device import answers, field_of
from test_pool import crowded

import mmsearch
from mmsearch import DamagedIndexError, Index
from mmsearch.engine import tuning
from mmsearch.search import dense
from mmsearch.store.ann import AnnIndex

Make = Callable[..., Index]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No field that is small enough to be scored whole."""
    monkeypatch.setattr(dense, "EXACT_CANDIDATES", 0)


@pytest.mark.parametrize("recipe", ["IVF8,SQ8", "RR32,IVF8,RaBitQ"])
def test_answers_are_those_from_memory(make_index: Make, recipe: str) -> None:
    index = make_index(recipe=recipe)
    with mmsearch.open(index.path, model=fake_model(), map_codes=True) as mapped:
        for start in range(0, 300, 60):
            index.add(crowded(start + 60)[start:])
            assert answers(mapped) == answers(index)
        index.remove([f"i{n}" for n in range(0, 180, 3)])
        for filtered in (None, "path in ('i7', 'i8', 'i10')", "path >= 'i2'"):
            assert answers(mapped, where=filtered) == answers(index, where=filtered)
        index.compact()
        assert answers(mapped) == answers(index)
        runs = field_of(mapped).ann
        assert runs is not None and all(run.index.file is not None for run in runs.runs)


def test_a_commit_opens_only_what_is_new(make_index: Make) -> None:
    index = make_index(recipe="IVF8,SQ8")
    index.add(crowded(300))
    with mmsearch.open(index.path, model=fake_model(), map_codes=True) as mapped:
        answers(mapped)
        before = field_of(mapped).ann
        index.add(crowded(310)[300:])
        answers(mapped)
        now = field_of(mapped).ann
        assert before and now and len(now.runs) == len(before.runs) + 1
        assert [run.index for run in now.runs[:-1]] == [run.index for run in before.runs]


def test_tuning_looks_into_the_files_too(make_index: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnnIndex, "add", None)  # to memory nothing is added
    monkeypatch.setattr(tuning, "LEAST_QUERIES", 20)
    index = make_index(recipe="IVF8,SQ8")
    index.add(crowded(300))
    with mmsearch.open(index.path, model=fake_model(), map_codes=True) as mapped:
        (found,) = mapped.tune(0.9, recipes=["IVF4,SQ8"])
        assert found.tuning and mapped.check_tuning()


def test_what_a_writer_has_replaced_is_still_searched(make_index: Make) -> None:
    index = make_index(recipe="IVF8,SQ8")
    index.add(crowded(300))
    with mmsearch.open(index.path, model=fake_model(), map_codes=True) as mapped:
        field = field_of(mapped)
        codes = {index.path / s.codes.name for s in field.info.segments if s.codes}
        assert all(path.exists() for path in codes)
        index.compact()
        assert not any(path.exists() for path in codes)
        assert field.ann is not None  # only now are they asked for
        assert answers(mapped) == answers(index)


def test_damage_is_told_from_what_is_there(make_index: Make) -> None:
    index = make_index(recipe="IVF8,SQ8")
    index.add(crowded(300))
    (file,) = index.path.glob("*.codes")
    damage(file)
    with (
        mmsearch.open(index.path, model=fake_model(), map_codes=True) as mapped,
        pytest.raises(DamagedIndexError, match="repair"),
    ):
        answers(mapped)


def damage(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
