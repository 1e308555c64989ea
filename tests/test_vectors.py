"""Embeddings of other programs: what comes in is found, and goes out as it came."""

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fakes import DIM, FakeEncoder, fake_model, word_vector
from media import picture, sound, text
from pyarrow import parquet
from test_two_spaces import two_space_model

import mmsearch
from mmsearch import Index, Modality, Model, UsageError
from mmsearch.cli.app import run
from mmsearch.engine import importing

Make = Callable[..., Index]
WORDS = ["red", "green", "blue", "high", "low"]


def rows_of(words: list[str]) -> np.ndarray[Any, np.dtype[np.float16]]:
    return np.stack([word_vector(word) for word in words]).astype(np.float16)


def clip_folder(folder: Path, shards: int = 2, per_shard: int = 60, texts: bool = True) -> Path:
    """What clip-retrieval writes: the vectors of w0, w1, ... and a caption for each."""
    kinds = ["img_emb", "text_emb"] if texts else ["img_emb"]
    for name in (*kinds, "metadata"):
        (folder / name).mkdir(parents=True)
    for shard in range(shards):
        numbers = range(shard * per_shard, (shard + 1) * per_shard)
        vectors = rows_of([f"w{n}" for n in numbers])
        for kind in kinds:
            np.save(folder / kind / f"{kind}_{shard}.npy", vectors)
        table = {
            "image_path": [f"pictures/{n}.jpg" for n in numbers],
            "caption": [f"w{n} taken" for n in numbers],
            "width": [n % 7 for n in numbers],
        }
        parquet.write_table(pa.table(table), folder / f"metadata/metadata_{shard}.parquet")
    return folder


def test_a_folder_of_clip_retrieval_is_searched(index: Index, tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "emb")
    report = index.add_vectors(folder)
    assert (report.added, report.failures) == (120, [])
    hit = index.search("w77", target="image", k=1)[0]
    assert hit.item.row == "78"
    assert hit.part.path == str(tmp_path / "pictures/77.jpg")
    assert hit.item.columns == {"width": 0}
    assert hit.signals["cosine"] == pytest.approx(1, abs=1e-3)
    assert index.search("w77", target="text", k=1)[0].text == "w77 taken"
    assert [h.item.row for h in index.search("w3", k=5, where="width = 3")][:1] == ["4"]
    assert index.verify() == []


def test_captions_without_vectors_are_words(index: Index, tmp_path: Path) -> None:
    index.add_vectors(clip_folder(tmp_path / "emb", texts=False))
    hit = index.search("w5 taken", k=1)[0]
    assert (hit.item.row, hit.part.modality) == ("6", Modality.IMAGE)
    assert hit.signals["lexical"] > 0.5
    assert index.verify() == []


def test_shards_are_in_the_order_of_their_numbers(index: Index, tmp_path: Path) -> None:
    index.add_vectors(clip_folder(tmp_path / "emb", shards=12, per_shard=2))
    found = [index.search(f"w{n}", target="image", k=1)[0].item.row for n in (3, 19, 23)]
    assert found == ["4", "20", "24"]


def test_a_second_run_skips_and_a_change_replaces(index: Index, tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "emb")
    index.add_vectors(folder)
    again = index.add_vectors(folder)
    assert (again.added, again.unchanged) == (0, 120)
    np.save(folder / "img_emb/img_emb_1.npy", rows_of([f"other{n}" for n in range(60)]))
    changed = index.add_vectors(folder)
    assert (changed.added, changed.updated, changed.unchanged) == (0, 60, 60)
    assert index.info().items == 120
    assert index.search("other7", target="image", k=1)[0].item.row == "68"
    assert index.verify() == []


def test_many_blocks_make_one_index(
    make_index: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BLOCK_ROWS", 7)
    index = make_index()
    index.add_vectors(clip_folder(tmp_path / "emb"))
    assert {index.search(f"w{n}", target="image", k=1)[0].item.row for n in range(120)} == {
        str(n + 1) for n in range(120)
    }


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kind", ["npz", "parquet", "parquet of fixed lists", "npy"])
def test_single_files(index: Index, tmp_path: Path, kind: str) -> None:
    vectors = rows_of(WORDS)
    ids, lengths = [f"id-{word}" for word in WORDS], [len(word) for word in WORDS]
    path = tmp_path / f"v.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, vectors.astype(np.float64))
    elif kind == "npz":
        npz(path, vectors=vectors, id=np.array(ids), length=np.array(lengths))
    else:
        lists = pa.array(vectors.astype(np.float32).tolist(), pa.list_(pa.float32()))
        if "fixed" in kind:
            flat = pa.array(vectors.reshape(-1), pa.float16())
            lists = pa.FixedSizeListArray.from_arrays(flat, DIM)
        parquet.write_table(pa.table({"id": ids, "embedding": lists, "length": lengths}), path)
    assert index.add_vectors(path, modality="image").added == 5
    item = index.search("green", target="image", k=1)[0].item
    assert item.row == ("2" if kind == "npy" else "id-green")
    assert item.columns == ({} if kind == "npy" else {"length": 5})
    assert item.path == path  # no row names a file: the vectors' own


def test_rows_that_cannot_be_used_are_listed(index: Index, tmp_path: Path) -> None:
    vectors = rows_of(WORDS).astype(np.float32)
    vectors[0, 3] = np.nan
    vectors[1] = 0
    vectors[2] *= 40
    path = npz(tmp_path / "v.npz", vectors=vectors, id=np.array(["a", "b", "c", "d", "d"]))
    report = index.add_vectors(path)
    reasons = {(failure.row, failure.reason) for failure in report.failures}
    bad = "its image vector is zero, or holds what is no number"
    assert reasons == {("a", bad), ("b", bad), ("5", "another row has the id 'd'")}
    assert report.added == 2
    assert index.search("blue", k=1)[0].signals["cosine"] == pytest.approx(1, abs=1e-3)


def test_what_does_not_fit_is_refused(index: Index, tmp_path: Path) -> None:
    np.save(tmp_path / "dim.npy", np.ones((3, 7), np.float16))
    np.save(tmp_path / "kind.npy", np.ones((3, DIM), np.int8))
    np.save(tmp_path / "flat.npy", np.ones(DIM, np.float16))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.npz").write_text("no arrays")
    (tmp_path / "text.parquet").write_text("no table")
    parquet.write_table(pa.table({"id": [1]}), tmp_path / "bare.parquet")
    (tmp_path / "empty").mkdir()
    uneven = clip_folder(tmp_path / "uneven")
    np.save(uneven / "img_emb/img_emb_0.npy", rows_of(["red"]))
    for name, reason in {
        "dim.npy": r"7 dimensions; fake .* has 32",
        "kind.npy": "type int8",
        "flat.npy": "not one array of",
        "text.npy": "not a plain array$",
        "text.npz": "not a plain array",
        "text.parquet": "not a Parquet file",
        "bare.parquet": "no column vector or",
        "empty": "holds no img_emb",
        "uneven": "differ in their rows",
        "gone": "no such file",
        "uneven/metadata/metadata_0.parquet": "no column vector",
    }.items():
        with pytest.raises(UsageError, match=reason):
            index.add_vectors(tmp_path / name)
    assert index.info().items == 0


def test_vectors_of_one_space_do_not_go_where_two_are_needed(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "emb")
    with mmsearch.create(tmp_path / "two", model=two_space_model()) as index:
        with pytest.raises(UsageError, match="each text has vectors in visual and acoustic here"):
            index.add_vectors(folder)
        assert index.add_vectors(clip_folder(tmp_path / "images", texts=False)).added == 120
        assert index.verify() == []


@pytest.mark.parametrize("target", ["out", "out.parquet"])
def test_what_goes_out_comes_back_bit_for_bit(
    make_index: Make, tmp_path: Path, target: str
) -> None:
    index = make_index()
    index.add_vectors(clip_folder(tmp_path / "emb", texts=False))
    assert index.export(tmp_path / target) == 120
    other = make_index("other")
    assert other.add_vectors(tmp_path / target).added == 120
    before, after = (i.embeddings(limit=1000) for i in (index, other))
    assert np.array_equal(before.vectors, after.vectors)
    for one, two in zip(before.chunks, after.chunks, strict=True):
        assert (one.item.row, one.part.path) == (two.item.row, two.part.path)
        assert one.item.parts[1].text == two.item.parts[1].text
        assert dict(one.item.columns) == dict(two.item.columns)
    with pytest.raises(UsageError, match="is there already"):
        index.export(tmp_path / target)


def test_any_index_can_be_exported(index: Index, tmp_path: Path) -> None:
    picture(tmp_path / "in/red.png", "red")
    text(tmp_path / "in/long.txt", "red. " * 60)
    row = {"text": "blue", "tags": ["a", "b"], "mixed": 1, "year": 1999}
    other = {"text": "green", "mixed": "x", "year": 2000.5, "good": True}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    index.add([tmp_path / "in", tmp_path / "rows.jsonl"])
    index.remove(tmp_path / "in/red.png")
    with pytest.raises(UsageError, match=r"no such vectors \(it holds fake.text\)"):
        index.export(tmp_path / "out", modality="image")
    picture(tmp_path / "in/blue.png", "blue")
    index.add(tmp_path / "in")
    with pytest.raises(UsageError, match=r"name one modality \(it holds fake.image, fake.text\)"):
        index.export(tmp_path / "out")
    count = index.export(tmp_path / "out", modality="text")
    table = parquet.read_table(tmp_path / "out/metadata/metadata_0.parquet").to_pylist()
    vectors = np.load(tmp_path / "out/text_emb/text_emb_0.npy")
    assert len(table) == len(vectors) == count > 4
    assert len({row["id"] for row in table}) == count
    rows = {row["caption"]: row for row in table}
    assert rows["blue"]["tags"] == '["a", "b"]'
    assert (rows["blue"]["mixed"], rows["green"]["mixed"]) == ("1", '"x"')
    assert (rows["blue"]["year"], rows["green"]["year"]) == (1999.0, 2000.5)
    assert (rows["blue"]["good"], rows["green"]["good"]) == (None, True)
    parts = [row for row in table if row["path"]]
    assert all(row["id"].startswith(f"{tmp_path / 'in/long.txt'}#") for row in parts)
    assert [row["chunk_start"] for row in parts] == sorted(row["chunk_start"] for row in parts)


def test_windows_of_sounds_keep_their_seconds(make_index: Make, tmp_path: Path) -> None:
    sound(tmp_path / "in/high.wav", "high", seconds=12)
    index = make_index()
    index.add(tmp_path / "in")
    assert index.export(tmp_path / "out.parquet") == 2
    other = make_index("other")
    other.add_vectors(tmp_path / "out.parquet", modality="audio")
    before, after = (i.embeddings().chunks for i in (index, other))
    assert [one.chunk for one in before] == [one.chunk for one in after]
    assert {one.part.path for one in after} == {str(tmp_path / "in/high.wav")}


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmsearch.engine.opening.load_model", lambda *_: fake_model())
    monkeypatch.setattr("mmsearch.engine.opened.load_model", lambda *_, **__: fake_model())
    folder, index = str(clip_folder(tmp_path / "emb")), str(tmp_path / "index")
    assert run(["add-vectors", folder, "--index", index, "--model", "fake"]) == 0
    assert run(["add-vectors", folder, "--index", index]) == 0
    assert run(["add-vectors", str(tmp_path / "gone"), "--index", index]) == 2
    assert run(["export", str(tmp_path / "out"), "--index", index, "--modality", "image"]) == 0
    said = capsys.readouterr().err
    assert "120 vectors in" in said
    assert "no such file or folder" in said


def test_a_new_index_for_vectors_needs_their_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was made with the default model, and took all vectors of its dim, whoever made them."""
    monkeypatch.setattr("mmsearch.engine.opening.load_model", lambda *_: fake_model())
    folder, index = str(clip_folder(tmp_path / "emb")), tmp_path / "index"
    assert run(["add-vectors", folder, "--index", str(index)]) == 2
    assert "a new index needs --model, the model that made the vectors" in capsys.readouterr().err
    assert not index.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("wrong", ["dim", "type"])
def test_vectors_that_do_not_fit_leave_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: str,
    suffix: str,
) -> None:
    monkeypatch.setattr("mmsearch.engine.opening.load_model", lambda *_: fake_model())
    monkeypatch.setattr("mmsearch.engine.opened.load_model", lambda *_, **__: fake_model())
    good, bad = tmp_path / "good.npy", tmp_path / f"bad{suffix}"
    np.save(good, rows_of(WORDS))
    vectors = np.ones((3, 7), np.float16) if wrong == "dim" else np.ones((3, DIM), np.int8)
    if suffix == ".npy":
        np.save(bad, vectors)
    elif suffix == ".npz":
        npz(bad, vectors=vectors)
    else:
        parquet.write_table(pa.table({"vector": list(vectors)}), bad)
    index, says = tmp_path / "index", "7 dimensions; fake" if wrong == "dim" else "type int8"
    if (wrong, suffix) == ("type", ".parquet"):
        says = "no vectors of one dim"
    command = ["add-vectors", str(good), str(bad), "--index", str(index), "--model", "fake"]
    assert run(command) == 2
    assert says in capsys.readouterr().err
    assert not index.exists()
    with mmsearch.create(index, model=fake_model()) as made:
        assert run(command) == 2
        assert made.info().items == 0


def test_a_model_without_texts_takes_captions_as_words(tmp_path: Path) -> None:
    model = Model("pictures", (FakeEncoder(Modality.IMAGE),))
    folder = clip_folder(tmp_path / "emb")
    with mmsearch.create(tmp_path / "index", model=model) as index:
        with pytest.raises(UsageError, match="'pictures' has no vectors for text"):
            index.add_vectors(folder)


def test_a_shard_that_grows_renames_the_rows_behind_it(index: Index, tmp_path: Path) -> None:
    (tmp_path / "emb/img_emb").mkdir(parents=True)
    for shard, words in enumerate((["a0", "a1"], ["b0", "b1"])):
        np.save(tmp_path / f"emb/img_emb/{shard}.npy", rows_of(words))
    index.add_vectors(tmp_path / "emb")
    np.save(tmp_path / "emb/img_emb/0.npy", rows_of(["a0", "a1", "a2"]))
    index.add_vectors(tmp_path / "emb")
    found = {word: index.search(word, k=1)[0].item.row for word in ("a0", "a1", "a2", "b0", "b1")}
    assert list(found.values()) == ["1", "2", "3", "4", "5"]
    assert index.info().items == 5


def test_a_wrong_modality_can_be_corrected(index: Index, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", rows_of(WORDS))
    index.add_vectors(tmp_path / "v.npy")
    assert index.add_vectors(tmp_path / "v.npy", modality="audio").updated == 5
    assert index.search("red", k=1)[0].part.modality == Modality.AUDIO
    with pytest.raises(UsageError, match="one modality"):
        index.add_vectors(tmp_path / "v.npy", modality=["image", "audio"])  # type: ignore[arg-type]


def test_a_row_that_goes_bad_is_not_found_any_more(index: Index, tmp_path: Path) -> None:
    vectors = rows_of(WORDS)
    np.save(tmp_path / "v.npy", vectors)
    index.add_vectors(tmp_path / "v.npy")
    vectors[1] = np.nan
    np.save(tmp_path / "v.npy", vectors)
    report = index.add_vectors(tmp_path / "v.npy")
    assert (report.updated, report.removed, len(report.failures)) == (4, 1, 1)
    assert index.info().items == 4
    assert index.verify() == []


def test_columns_of_every_type(index: Index, tmp_path: Path) -> None:
    moments = pa.array([1, 2], pa.timestamp("ns"))
    table = pa.table(
        {
            "vector": pa.array(rows_of(["red", "green"]).tolist(), pa.large_list(pa.float64())),
            "id": pa.array([1.0, 2.0]),
            "key": ["000", "001"],
            "when": moments,
            "days": pa.array([[1], [2]], pa.list_(pa.date32())),
            "price": pa.array([1, 2]).cast(pa.decimal128(25, 2)),
            "jpg": pa.array([b"1", b"2"]),
            "image": pa.array([{"bytes": b"x", "path": "a.jpg"}] * 2),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "caption": pa.array(["red one", None]),
        }
    )
    parquet.write_table(table, tmp_path / "v.parquet")
    assert index.add_vectors(tmp_path / "v.parquet").added == 2
    item = index.search("red", target="image", k=1)[0].item
    assert item.row == "1"
    assert dict(item.columns) == {
        "key": "000",
        "when": "1970-01-01 00:00:00.000000001",
        "days": '["1970-01-02"]',
        "price": 1.0,
        "image": '{"bytes": null, "path": "a.jpg"}',
        "kind": "a",
    }
    assert [hit.item.row for hit in index.search("red", where="key = '001'")] == ["2"]


def test_missing_and_ragged_vectors(index: Index, tmp_path: Path) -> None:
    red, green = rows_of(["red", "green"]).astype(np.float32).tolist()
    kind = pa.list_(pa.float32())
    parquet.write_table(
        pa.table({"vector": pa.array([red, None, green], kind)}), tmp_path / "a.parquet"
    )
    report = index.add_vectors(tmp_path / "a.parquet")
    assert (report.added, [failure.row for failure in report.failures]) == (2, ["2"])
    ragged = pa.array([red, red[:20], [*red, *red[:12]]], kind)
    parquet.write_table(pa.table({"vector": ragged}), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="no vectors of one dim"):
        index.add_vectors(tmp_path / "b.parquet")


def test_a_caption_that_is_missing_costs_no_picture(index: Index, tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "emb", shards=1, per_shard=2)
    table = pa.table({"caption": ["w0 taken", None]})
    parquet.write_table(table, folder / "metadata/metadata_0.parquet")
    assert index.add_vectors(folder).added == 2
    assert index.search("w1", target="image", k=1)[0].item.row == "2"
    assert index.verify() == []


def test_files_that_do_not_belong_together_are_refused(index: Index, tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "emb")
    (folder / "img_emb/img_emb_1.npy").rename(folder / "img_emb/img_emb_2.npy")
    with pytest.raises(UsageError, match="different numbers"):
        index.add_vectors(folder)


@pytest.mark.parametrize("start", [float("nan"), -1.0, 1e300, "soon"])
def test_times_are_times(index: Index, tmp_path: Path, start: object) -> None:
    npz(tmp_path / "v.npz", vector=rows_of(["red"]), chunk_start=np.array([start]))
    report = index.add_vectors(tmp_path / "v.npz", modality="audio")
    assert [failure.reason for failure in report.failures] == [
        "chunk_start and chunk_end are seconds"
    ]


def test_an_export_touches_nothing_else(index: Index, tmp_path: Path) -> None:
    row = {"text": "red", "caption": "a red thing", "vector": 7, "path2": "x"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    strange = tmp_path / os.fsdecode(b"caf\xe9.txt")
    strange.write_text("blue")
    index.add([tmp_path / "rows.jsonl", strange])
    (tmp_path / "out.tmp").mkdir()
    (tmp_path / "out.tmp/precious.txt").write_text("mine")
    assert index.export(tmp_path / "out") == 2
    assert (tmp_path / "out.tmp/precious.txt").exists()
    assert not list(tmp_path.glob(".mmsearch-*"))
    rows = parquet.read_table(tmp_path / "out/metadata/metadata_0.parquet").to_pylist()
    assert {row["caption"] for row in rows} == {"red", "blue"}
    assert "vector" not in rows[0]
    assert index.export(tmp_path / "laion-2.5b") == 2
    with pytest.raises(UsageError, match="there is no folder"):
        index.export(tmp_path / "gone/out.parquet")


def test_an_import_puts_off_the_collector_and_lets_it_go_on(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[bool] = []
    folder = clip_folder(tmp_path / "emb")
    index.add_vectors(folder, progress=lambda _: during.append(gc.isenabled()))
    monkeypatch.setattr(importing.Importer, "_take", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.add_vectors(clip_folder(tmp_path / "more"))
    assert set(during) == {False}
    assert gc.isenabled()
