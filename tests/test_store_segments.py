"""Segments, codebooks and commits, through the public API and the files on disk."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from fakes import fake_model
from numpy.typing import NDArray

import mmsearch
from mmsearch import Index, IndexFormatError, Item, Modality, Model, ModelError, Part, UsageError
from mmsearch.records import FieldName
from mmsearch.store import environment, files, manifest, plan, writer
from mmsearch.store.catalog_writer import CatalogWriter
from mmsearch.store.environment import acquire
from mmsearch.store.field import Field
from mmsearch.store.manifest import EXACT, FieldInfo, Manifest, SegmentInfo
from mmsearch.store.merge import FAN_IN, merge_tail
from mmsearch.store.metadata import Update
from mmsearch.store.segment import Segment, write_segment
from mmsearch.store.selection import Selection
from mmsearch.store.spare import SPARE
from mmsearch.store.writer import Writer

WORDS = [f"word{n}" for n in range(30)]
NAME = FieldName("fake", Modality.TEXT)


def items(start: int, stop: int) -> list[Item]:
    rng = np.random.default_rng(start)
    return [
        Item(f"i{n}", (Part("t", Modality.TEXT, text=" ".join(rng.choice(WORDS, 3))),))
        for n in range(start, stop)
    ]


def field_of(index: Index) -> FieldInfo:
    with index._reader.view() as view:
        field = view.manifest.field(NAME)
        assert field is not None
        return field


def files_of(index: Index) -> set[str]:
    kinds = (".vectors", ".codes", ".codebook", ".tmp")
    return {path.name for path in index.path.iterdir() if path.suffix in kinds}


def answers(index: Index) -> list[Any]:
    """What is found; BM25 counts passages of a commit that failed until the next one."""
    hits = [hit for word in WORDS[:4] for hit in index.search(word, k=1000)]
    return sorted((hit.item.source, hit.signals["cosine"]) for hit in hits)


def test_merging_keeps_order_vectors_and_ids_and_bounds_the_segments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = (f"{number:08d}.vectors" for number in range(10_000))
    info = FieldInfo(NAME, 4)
    written: list[np.ndarray[Any, Any]] = []
    sizes = [*[1] * 30, 9000, *[1] * 7, 9000, *[1] * 7, 9000, *[1] * 7, 70_000, *[1] * 20]
    last = 0
    for rows in sizes:
        ids = np.arange(last, last + rows, dtype=np.int64)
        last += rows
        vectors = rng.standard_normal((rows, 4)).astype(np.float16)
        written.append(vectors)
        file = write_segment(tmp_path, next(names), ids, [vectors])
        info = FieldInfo(NAME, 4, (*info.segments, SegmentInfo(file, None, rows, last - 1)))
        info = merge_tail(tmp_path, info, lambda kind: next(names))
        assert len(info.segments) < 3 * FAN_IN
    blocks = [b for s in info.segments for b in Segment(tmp_path, s, 4).blocks()]
    assert np.array_equal(np.concatenate([ids for ids, _ in blocks]), np.arange(last))
    assert np.array_equal(np.concatenate([v for _, v in blocks]), np.concatenate(written))


def test_many_small_adds_leave_few_segments_and_only_named_files(index: Index) -> None:
    for start in range(0, 60, 2):
        index.add(items(start, start + 2))
    info = field_of(index)
    assert len(info.segments) < FAN_IN
    assert info.rows == 60
    assert len(files_of(index)) == len(info.segments)


def test_a_small_field_is_exact_and_a_large_one_quantised(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "EXACT_ROWS", 300)
    monkeypatch.setattr(plan, "choose_recipe", lambda rows, dim, code_bytes: "IVF4,PQ8")
    index.add(items(0, 280))
    assert index.info().fields[0].recipe == "exact"
    index.add(items(280, 300))
    assert index.info().fields[0].recipe == "IVF4,PQ8"


def test_later_segments_use_the_same_codebook_until_it_is_outgrown(
    make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(recipe="IVF4,PQ8")
    index.add(items(0, 100))
    assert field_of(index).codebook is None  # too few to train on
    index.add(items(100, 260))
    trained = field_of(index)
    index.add(items(260, 300))
    later = field_of(index)
    assert trained.codebook is not None
    assert later.codebook == trained.codebook
    assert all(segment.codes for segment in later.segments)
    assert (later.trained_rows, later.rows) == (260, 300)
    monkeypatch.setattr(plan, "OUTGROWN", 1.2)
    index.add(items(300, 320))
    assert field_of(index).codebook != trained.codebook
    assert field_of(index).trained_rows == 320
    assert files_of(index) == _named(index)


def _named(index: Index) -> set[str]:
    with index._reader.view() as view:
        return view.manifest.files()


def test_merged_segments_keep_their_codes(make_index: Callable[..., Index]) -> None:
    index = make_index(recipe="IVF4,PQ8")
    index.add(items(0, 256))
    before = field_of(index).codebook
    for start in range(256, 290, 2):
        index.add(items(start, start + 2))
    info = field_of(index)
    assert info.codebook == before
    assert len(info.segments) < FAN_IN
    with index._reader.view() as view:
        found = every_row(view.state.fields[NAME])
    assert sorted(found[found >= 0]) == list(range(290))


def every_row(field: Field) -> NDArray[np.int64]:
    """Return what a search in all lists finds."""
    assert field.ann is not None
    whole = Selection(np.ones(field.rows, bool))
    return field.ann.search(np.ones((1, 32), np.float32), 1000, field.ann.nlist, 0.25, whole)


def test_a_reader_adds_the_codes_of_new_commits_to_those_it_has(
    make_index: Callable[..., Index],
) -> None:
    index = make_index(recipe="IVF4,PQ8")
    index.add(items(0, 300))

    def runs() -> list[tuple[int, int]]:
        index.search("word1")
        with index._reader.view() as view:
            ann, found = view.state.fields[NAME].ann, every_row(view.state.fields[NAME])
            assert ann is not None
            assert sorted(found[found >= 0]) == list(range(view.state.fields[NAME].rows))
            return [(run.start, run.stop) for run in ann.runs]

    assert runs() == [(0, 300)]
    for start in range(300, 308, 2):
        index.add(items(start, start + 2))
    assert runs() == [(0, 300), (300, 308)]
    index.add(items(308, 309))
    assert runs() == [(0, 300), (300, 308), (308, 309)]
    index.compact()
    assert runs() == [(0, 309)]


def test_compaction_below_the_threshold_goes_back_to_exact(
    make_index: Callable[..., Index],
) -> None:
    index = make_index(recipe="IVF4,PQ8")
    index.add(items(0, 260))
    index.remove([f"i{n}" for n in range(100)])
    index.compact()
    assert index.info().fields[0].recipe == "exact"
    assert index.info().fields[0].vectors == 160


@pytest.mark.parametrize("recipe", ["IVF16,PQ16x4fs", "PQ16x4fsr", "IVF16,PQ7", "nonsense"])
def test_a_recipe_that_does_not_fit_makes_no_index(tmp_path: Path, recipe: str) -> None:
    with pytest.raises(UsageError, match="recipe"):
        mmsearch.create(tmp_path / "i", model=fake_model(), recipe=recipe)
    assert not (tmp_path / "i").exists()


def test_the_map_grows_while_readers_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.acquire, "__defaults__", (256 * 1024,))
    with mmsearch.create(tmp_path / "i", model=fake_model()) as index:
        other = mmsearch.open(tmp_path / "i", model=fake_model())
        long = "x" * 2000
        for start in range(0, 400, 100):
            index.add(
                Item(f"i{n}", (Part("t", Modality.TEXT, text=f"word{n}"),), columns={"c": long})
                for n in range(start, start + 100)
            )
            assert len(other.search("word1", k=1000)) == start + 100
        other.close()
        assert (tmp_path / "i/data.mdb").stat().st_size > 256 * 1024


def test_an_environment_is_shared_and_closed_with_its_last_user(tmp_path: Path) -> None:
    first, second = acquire(tmp_path), acquire(tmp_path / "." / "")
    assert first is second
    first.release()
    with second.read() as transaction:
        assert transaction.stat(second.databases[b"items"])["entries"] == 0
    second.release()
    third = acquire(tmp_path)
    assert third is not first
    third.release()


def test_files_that_no_commit_names_are_removed_by_the_next_writer(index: Index) -> None:
    index.add(items(0, 3))
    for name in ("00000099.vectors", "00000098.codes", "00000097.codebook", "x.vectors.tmp"):
        (index.path / name).write_bytes(b"left by a dead writer")
    (index.path / "notes.txt").write_text("not ours")
    index.add(items(3, 4))
    assert files_of(index) == _named(index)
    assert (index.path / "notes.txt").exists()


def _no_space(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _catalog_full(*_: Any, **__: Any) -> Any:
    raise mmsearch.MMSearchError("catalog.sqlite cannot grow: the disk is full")


def _lmdb_full(*_: Any, **__: Any) -> Any:
    raise lmdb.DiskError("No space left on device")


STEPS: dict[str, tuple[Any, str, Any]] = {
    "write": (files._BlockHasher, "update", _no_space),
    "flush": (os, "fsync", _no_space),
    "rename": (os, "replace", _no_space),
    "catalog": (CatalogWriter, "_add", _catalog_full),
    "records": (Update, "put_items", _lmdb_full),
    "manifest": (Update, "put_manifest", _no_space),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_failed_commit_changes_nothing_and_the_next_one_works(
    index: Index, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(items(0, 20))
    before, info = answers(index), index.info()
    target, name, failure = STEPS[step]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, failure)
        with pytest.raises((OSError, mmsearch.MMSearchError)):
            index.add(items(20, 30))
    assert answers(index) == before
    assert (index.info().items, index.info().commit) == (info.items, info.commit)
    assert index.add(items(20, 30)).added == 10
    assert index.info().items == 30
    assert files_of(index) == _named(index)
    assert len(index.search("word1", k=100)) == 30


def test_another_model_is_refused_by_name(index: Index) -> None:
    index.add(items(0, 2))
    space = mmsearch.Space("fake", 32, True, "elsewhere", "f" * 64)
    encoders = fake_model().encoders
    for encoder in encoders:
        encoder.space = space  # type: ignore[misc]
    with (
        mmsearch.open(index.path, model=Model("other", encoders)) as other,
        pytest.raises(ModelError, match="'other'"),
    ):
        other.add(items(2, 3))
    with mmsearch.open(index.path) as nameless, pytest.raises(ModelError, match="'fake'"):
        nameless.search("word1")


def test_a_newer_format_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "FORMAT", manifest.FORMAT + 1)
        index.add(items(0, 1))
    with pytest.raises(IndexFormatError, match="upgrade"):
        index.info()


def manifest_with_codebook() -> Manifest:
    file = files.FileInfo("1.vectors", 10, "aa")
    segment = SegmentInfo(file, file, 3, 7)
    field = FieldInfo(NAME, 8, (segment,), file, "IVF4,PQ8", 3, chosen="IVF4,PQ8")
    return Manifest("fake", fake_model().spaces, "IVF4,PQ8", None, 5, 6, 7, 8, (field,), {"a": "1"})


def test_a_manifest_survives_json() -> None:
    whole = manifest_with_codebook()
    assert Manifest.from_json(whole.to_json()) == whole


@pytest.mark.parametrize("version", [1, 2, 3])
def test_codes_in_another_order_are_left_aside(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "FORMAT", version)
    (field,) = Manifest.from_json(manifest_with_codebook().to_json()).fields
    assert (field.codebook, field.segments[0].codes, field.recipe) == (None, None, EXACT)
    assert field.rows == 3


def test_codes_of_an_older_format_are_made_anew(
    make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(manifest, "FORMAT", 3)
        before.setattr(writer, "FORMAT", 3)
        path = make_index(recipe="IVF4,PQ8").path
        with mmsearch.open(path, model=fake_model()) as index:
            index.add(items(0, 300))
            assert any(name.endswith(".codes") for name in files_of(index))
    with mmsearch.open(path, model=fake_model()) as index:
        assert field_of(index).recipe == EXACT
        found = answers(index)
        Writer(path).close()
        assert json.loads(sound_text(path))["format"] == manifest.FORMAT
        assert files_of(index) == _named(index)
        assert mmsearch.verify(path) == []
        assert answers(index) == found
        index.add(items(300, 301))
        assert field_of(index).recipe == "IVF4,PQ8"


def sound_text(path: Path) -> bytes:
    """The manifest's copy, behind its checksum."""
    return (path / SPARE).read_bytes().split(b"\n", 1)[1]


def test_making_an_index_twice_is_refused(index: Index) -> None:
    with pytest.raises(UsageError, match="already"):
        mmsearch.create(index.path, model=fake_model())
