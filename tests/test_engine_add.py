"""What `Index.add` promises: new, changed, moved, copied, vanished and failed things."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder, fake_model
from media import picture, sound, text

import mmsearch
from mmsearch import Index, Item, Modality, Part
from mmsearch.engine import ingest, pipeline
from mmsearch.errors import MMSearchError, UsageError
from mmsearch.records import FloatArray
from mmsearch.store import metadata, plan
from mmsearch.store.metadata import Snapshot, StoredItem
from mmsearch.store.writer import Batch, Writer


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that an encoder is asked to embed."""
    seen: list[Any] = []
    encode = FakeEncoder.encode

    def spy(self: FakeEncoder, prepared: Sequence[list[str]]) -> FloatArray:
        seen.extend(prepared)
        return encode(self, prepared)

    monkeypatch.setattr(FakeEncoder, "encode", spy)
    return seen


def found(index: Index, query: str, **options: Any) -> list[str]:
    return [hit.item.path.name for hit in index.search(query, **options)]


def words_item(source: str, words: str, **columns: Any) -> Item:
    return Item(source, (Part("text", Modality.TEXT, text=words),), columns=columns)


def test_a_row_with_picture_caption_and_sound_is_one_item_found_through_any_part(
    index: Index, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png", "red")
    sound(tmp_path / "a.wav", "high")
    rows = [
        {"id": "one", "image": "a.png", "audio": "a.wav", "caption": "zebra", "lang": "en"},
        {"id": "two", "caption": "giraffe"},
    ]
    manifest = text(tmp_path / "list.jsonl", "\n".join(map(json.dumps, rows)))
    report = index.add(manifest, text_columns=["caption"])
    assert (report.added, report.failures) == (2, [])
    for query, role in (("red", "image"), ("high", "audio"), ("zebra", "caption")):
        hits = index.search(query)
        assert [hit.item.row for hit in hits].count("one") == 1
        assert (hits[0].item.row, hits[0].part.role) == ("one", role)
        assert hits[0].item.columns == {"lang": "en"}
    assert len(index.search("zebra")[0].item.parts) == 3


@pytest.mark.usefixtures("settled")
def test_unchanged_files_are_neither_read_nor_encoded_again(
    index: Index, tmp_path: Path, encoded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text(tmp_path / "notes/a.txt", "apple")
    index.add(tmp_path / "notes")
    encoded.clear()
    monkeypatch.setattr("mmsearch.engine.triage.contents", lambda item: pytest.fail("read again"))
    report = index.add(tmp_path / "notes")
    assert (report.unchanged, report.indexed, encoded) == (1, 0, [])


@pytest.mark.parametrize("is_settled", [True, False])
def test_a_file_that_was_only_touched_is_unchanged_by_its_contents(
    index: Index,
    tmp_path: Path,
    encoded: list[Any],
    is_settled: bool,
    request: pytest.FixtureRequest,
) -> None:
    if is_settled:
        request.getfixturevalue("settled")
    path = text(tmp_path / "a.txt", "apple")
    index.add(path)
    encoded.clear()
    os.utime(path, (1, 1))
    report = index.add(path)
    assert (report.unchanged, report.indexed, encoded) == (1, 0, [])
    commit = index.info().commit
    assert index.add(path).unchanged == 1
    assert index.info().commit == commit  # nothing further to remember


def test_a_changed_file_is_replaced(index: Index, tmp_path: Path) -> None:
    path = text(tmp_path / "a.txt", "apple")
    index.add(path)
    first = index.get(path)
    text(path, "banana split")
    report = index.add(path)
    assert (report.updated, report.added) == (1, 0)
    hits = index.search("apple")
    assert [hit.text for hit in hits] == ["banana split"]
    assert hits[0].signals["lexical"] == 0
    assert first and first.id != hits[0].item.id
    assert index.info().items == 1


def test_a_moved_file_is_recognised_without_encoding(
    index: Index, tmp_path: Path, encoded: list[Any]
) -> None:
    path = text(tmp_path / "notes/a.txt", "apple pie")
    index.add(tmp_path / "notes")
    encoded.clear()
    path.rename(tmp_path / "notes/b.txt")
    report = index.add(tmp_path / "notes")
    assert (report.moved, report.added, report.vanished, encoded) == (1, 0, [], [])
    assert [hit.text for hit in index.search("apple")] == ["apple pie"]
    assert found(index, "apple") == ["b.txt"]


def test_two_copies_of_a_vanished_file_are_one_move_and_one_copy(
    index: Index, tmp_path: Path, encoded: list[Any]
) -> None:
    path = text(tmp_path / "notes/a.txt", "apple")
    index.add(tmp_path / "notes")
    encoded.clear()
    text(tmp_path / "notes/b.txt", "apple")
    path.rename(tmp_path / "notes/c.txt")
    report = index.add(tmp_path / "notes")
    assert (report.moved, report.added, report.reused, encoded) == (1, 1, 2, [])
    assert index.info().items == 2


def test_a_copy_takes_over_the_vectors(index: Index, tmp_path: Path, encoded: list[Any]) -> None:
    index.add(picture(tmp_path / "a.png"))
    encoded.clear()
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    report = index.add(tmp_path / "b.png")
    assert (report.added, report.reused, encoded) == (1, 1, [])
    assert sorted(found(index, "red", target="image")) == ["a.png", "b.png"]


def test_items_of_a_program_with_equal_contents_are_not_taken_for_moved(index: Index) -> None:
    index.add([words_item("note:1", "apple")])
    report = index.add([words_item("note:2", "apple")])
    assert (report.added, report.moved, index.info().items) == (1, 0, 2)


def test_a_file_with_the_words_of_a_row_keeps_its_own_text(index: Index, tmp_path: Path) -> None:
    index.add([words_item("note:1", "apple")])
    index.add(text(tmp_path / "a.txt", "apple"))
    assert [hit.text for hit in index.search("apple")] == ["apple", "apple"]


def test_items_of_a_program_are_got_and_removed_by_their_own_name(index: Index) -> None:
    index.add([words_item("note:1", "apple"), words_item("note:2", "pear")])
    item = index.get("note:1")
    assert item and item.parts[0].text == "apple"
    assert index.remove("note:1") == 1
    assert index.get("note:1") is None
    assert index.info().items == 1


def test_vanished_files_are_reported_and_removed_only_with_prune(
    index: Index, tmp_path: Path
) -> None:
    gone = text(tmp_path / "notes/a.txt", "apple")
    text(tmp_path / "notes/b.txt", "pear")
    index.add(tmp_path / "notes")
    gone.unlink()
    report = index.add(tmp_path / "notes")
    assert (report.vanished, report.removed) == ([str(gone)], 0)
    assert "a.txt" in found(index, "apple")
    report = index.add(tmp_path / "notes", prune=True)
    assert (report.vanished, report.removed) == ([], 1)
    assert found(index, "apple") == ["b.txt"]


def test_prune_spares_what_it_did_not_look_for(index: Index, tmp_path: Path) -> None:
    rows = text(tmp_path / "all/list.jsonl", '{"text": "apple"}\n{"text": "pear"}')
    hidden = text(tmp_path / "all/.hidden/c.txt", "cherry")
    index.add([rows, hidden])
    report = index.add(tmp_path / "all", prune=True)
    assert (report.removed, index.info().items) == (0, 3)
    text(rows, '{"text": "apple"}')
    assert index.add(rows, prune=True).removed == 1
    text(rows, "\ufeff" + "[]")
    assert index.add(rows, prune=True).removed in (0, 1)


def test_prune_spares_the_rows_of_a_manifest_that_cannot_be_read(
    index: Index, tmp_path: Path
) -> None:
    rows = text(tmp_path / "list.jsonl", '{"text": "apple"}')
    index.add(rows)
    rows.write_bytes('{"text": "apple"}'.encode("utf-16"))
    report = index.add(rows, prune=True)
    assert (len(report.failures), report.removed, report.vanished) == (1, 0, [])


@pytest.mark.usefixtures("settled")
def test_failures_are_remembered_and_retried_only_when_the_file_changes(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = text(tmp_path / "bad/a.png", "no picture")
    index.add(tmp_path / "bad")
    assert index.info().failures == 1
    with monkeypatch.context() as patch:
        patch.setattr("mmsearch.engine.triage.contents", lambda item: pytest.fail("tried again"))
        report = index.add(tmp_path / "bad")
    assert [failure.source for failure in report.failures] == [str(path)]
    picture(path)
    assert index.add(tmp_path / "bad").added == 1
    assert index.info().failures == 0


def test_a_failure_is_forgotten_when_its_file_is_gone_or_removed(
    index: Index, tmp_path: Path
) -> None:
    paths = [text(tmp_path / f"bad/{name}.png", "no picture") for name in "ab"]
    index.add(tmp_path / "bad")
    paths[0].unlink()
    index.add(tmp_path / "bad")
    assert index.info().failures == 1
    index.remove(paths[1])
    assert index.info().failures == 0


def test_a_file_that_becomes_undecodable_drops_its_old_version(
    index: Index, tmp_path: Path
) -> None:
    path = picture(tmp_path / "a.png")
    index.add([path, text(tmp_path / "b.txt", "pear")])
    text(path, "no picture any more")
    report = index.add(path)
    assert [failure.source for failure in report.failures] == [str(path)]
    assert index.get(path) is None
    assert found(index, "red") == ["b.txt"]


def test_a_row_whose_picture_is_missing_is_found_by_its_caption(
    index: Index, tmp_path: Path
) -> None:
    rows = text(tmp_path / "list.jsonl", '{"image": "gone.png", "text": "apple"}')
    report = index.add(rows)
    assert report.added == 1
    assert "gone.png" in report.failures[0].reason
    assert found(index, "apple") == ["gone.png"]


def test_whatever_a_decoder_or_preprocessor_throws_costs_one_item(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(self: FakeEncoder, decoded: str) -> list[str]:
        if "bad" in decoded:
            raise ZeroDivisionError("a bug")
        return decoded.split()

    monkeypatch.setattr(FakeEncoder, "prepare", prepare)
    text(tmp_path / "n/a.txt", "bad")
    text(tmp_path / "n/b.txt", "good")
    report = index.add(tmp_path / "n")
    assert report.added == 1
    assert "ZeroDivisionError: a bug" in report.failures[0].reason


def test_overlapping_sources_and_repeated_items_are_indexed_once(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = text(tmp_path / "notes/deep/a.txt", "apple")
    report = index.add([tmp_path / "notes", tmp_path / "notes", tmp_path / "notes/deep", path])
    assert (report.added, report.unchanged) == (1, 0)
    monkeypatch.setattr(ingest, "COMMIT_ITEMS", 1)
    items = [words_item("x", "pear")] * 50
    assert index.add(items).added == 1
    assert index.add(items).unchanged == 1
    assert index.info().items == 2


def test_an_item_added_again_with_other_columns_is_replaced_without_encoding(
    index: Index, encoded: list[Any]
) -> None:
    index.add([words_item("x", "apple", lang="en")])
    encoded.clear()
    report = index.add([words_item("x", "apple", lang="de")])
    assert (report.updated, report.reused, encoded) == (1, 1, [])
    assert found(index, "apple", where="lang = 'de'") == ["x"]
    assert found(index, "apple", where="lang = 'en'") == []


def test_columns_that_cannot_be_stored_are_refused_by_name(index: Index) -> None:
    with pytest.raises(mmsearch.UsageError, match="'x'.*columns"):
        index.add([words_item("x", "apple", when=object())])


def test_adding_works_from_a_thread_and_from_a_generator(index: Index) -> None:
    items = (words_item(f"x{n}", f"word{n}") for n in range(20))
    reports: list[Any] = []
    thread = threading.Thread(target=lambda: reports.append(index.add(items)))
    thread.start()
    thread.join()
    assert reports[0].added == 20


def test_adding_works_in_a_script_without_a_main_guard(tmp_path: Path) -> None:
    text(tmp_path / "a.txt", "apple")
    script = (
        "import sys, mmsearch\nfrom fakes import fake_model\n"
        "index = mmsearch.create(sys.argv[1] + '/i', model=fake_model())\n"
        "print(index.add(sys.argv[1] + '/a.txt').added)\n"
    )
    (tmp_path / "s.py").write_text(script)
    result = subprocess.run(
        [sys.executable, "-W", "error", tmp_path / "s.py", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        timeout=60,
    )
    assert (result.stdout, result.returncode) == ("1\n", 0), result.stderr


def test_an_exception_in_an_encoder_changes_nothing_committed_and_leaves_no_threads(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(text(tmp_path / "a.txt", "apple"))
    before = index.info()

    def broken(self: FakeEncoder, prepared: Sequence[list[str]]) -> FloatArray:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(FakeEncoder, "encode", broken)
        with pytest.raises(RuntimeError, match="out of memory"):
            index.add([words_item(f"x{n}", "pear") for n in range(500)])
    assert index.info() == before
    assert not [t.name for t in threading.enumerate() if t.name.startswith("mmsearch")]
    assert index.add([words_item("x1", "pear")]).added == 1


def test_an_error_of_the_source_is_raised_where_add_was_called(index: Index) -> None:
    def items() -> Iterator[Item]:
        yield words_item("a", "apple")
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="own"):
        index.add(items())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("mmsearch")]


def test_the_source_is_not_read_far_ahead_of_the_encoder(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "QUEUED_MESSAGES", 4)
    given, lead = [0], [0]
    encode, done = FakeEncoder.encode, [0]

    def items() -> Iterator[Item]:
        for n in range(300):
            given[0] += 1
            yield words_item(f"x{n}", f"word{n}")

    def slow(self: FakeEncoder, prepared: Sequence[list[str]]) -> FloatArray:
        time.sleep(0.005)
        lead[0] = max(lead[0], given[0] - done[0])
        done[0] += len(prepared)
        return encode(self, prepared)

    monkeypatch.setattr(FakeEncoder, "encode", slow)
    index.add(items())
    assert lead[0] < 4 + 4 * pipeline.WORKERS + 2 * FakeEncoder.batch_size


def test_ctrl_c_keeps_what_is_finished(index: Index) -> None:
    def items() -> Iterator[Item]:
        for n in range(30):
            yield words_item(f"x{n}", f"word{n}")
        raise KeyboardInterrupt

    report = index.add(items())
    assert report.interrupted
    assert report.added == index.info().items == 30


def test_ctrl_c_in_the_middle_of_a_commit_adds_nothing_twice(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from mmsearch.store.writer import Batch, Writer

    commit = Writer.commit

    def interrupted(self: Writer, batch: Batch) -> None:
        commit(self, batch)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Writer, "commit", interrupted)
    assert index.add([words_item("x", "apple")]).interrupted
    assert index.info().items == 1
    assert len(index.search("apple")) == 1


def test_progress_counts_every_item(index: Index, tmp_path: Path) -> None:
    text(tmp_path / "n/a.txt", "apple")
    text(tmp_path / "n/b.png", "no picture")
    steps: list[mmsearch.Progress] = []
    index.add(tmp_path / "n", progress=steps.append)
    assert steps[-1] == mmsearch.Progress(seen=2, indexed=1, failed=1)


def test_a_second_writer_in_the_process_is_refused(
    index: Index, make_index: Callable[..., Index]
) -> None:
    other = mmsearch.open(index.path, model=fake_model())

    def items() -> Iterator[Item]:
        yield words_item("x", "apple")
        with pytest.raises(mmsearch.IndexLockedError):
            other.add([words_item("y", "pear")])

    assert index.add(items()).added == 1
    other.close()
    other.close()  # closing twice takes nothing from the index that is open still
    assert index.info().items == 1
    with pytest.raises(mmsearch.UsageError, match="closed"):
        other.info()


def test_what_was_touched_and_then_removed_stays_removed(index: Index, tmp_path: Path) -> None:
    path = text(tmp_path / "a.txt", "apple")
    index.add(path)
    with index._reader.view() as view:
        stored = next(view.snapshot.items())
    writer = Writer(index.path)
    writer.commit(Batch(touched=[stored], removed=[stored.id]))
    writer.commit(Batch(touched=[stored]))
    writer.close()
    assert index.get(path) is None
    assert index.verify() == []


def test_an_empty_path_is_refused_and_removes_nothing(index: Index, tmp_path: Path) -> None:
    index.add(text(tmp_path / "a.txt", "apple"))
    with pytest.raises(UsageError, match="empty path"):
        index.remove("")
    assert index.info().items == 1


@pytest.mark.parametrize("roots", [["/"], ["/a"], ["/a/"], ["/other", "/a/b.txt"]])
def test_roots_are_removed_with_all_that_lies_in_them(index: Index, roots: list[str]) -> None:
    index.add([words_item("/a/b.txt", "apple"), words_item("name", "pear")])
    assert index.remove(["/a/b", "/ab"]) == 0
    assert index.remove(roots) == 1
    assert index.get("name")


@pytest.mark.parametrize(
    "name", ["plain", 'quo"te', "back\\slash", "emoji \U0001f600", "\udcff", "kože", "new\nline"]
)
def test_whatever_a_folder_is_called_it_is_removed_with_its_files(index: Index, name: str) -> None:
    index.add(words_item(f"/a/{name}{end}", "apple") for end in ("", "/b", "/c/d", "e", "/"))
    assert index.remove([f"/a/{name}", f"/a/{name}e/b"]) == 4
    assert index.get(f"/a/{name}e")


def test_removing_decodes_only_what_may_be_meant(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(words_item(f"item{n}", "apple") for n in range(3))
    index.add([words_item("/a/b", "pear"), words_item("/a/c", "pear")])
    index.add([text(tmp_path / name, "plum") for name in ("one.txt", "one.txt2.txt")])
    decoded, decode = list[StoredItem](), metadata._decode_item

    def spy(item_id: int, raw: bytes) -> StoredItem:
        decoded.append(decode(item_id, raw))
        return decoded[-1]

    monkeypatch.setattr(metadata, "_decode_item", spy)
    assert index.remove("/a") == 2
    assert {stored.item.source for stored in decoded} == {"/a/b", "/a/c"}
    del decoded[:]
    assert index.remove(tmp_path / "one.txt") == 1
    assert {stored.item.source for stored in decoded} == {str(tmp_path / "one.txt")}


def test_adding_single_things_does_not_look_at_the_whole_index(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(words_item(f"item{n}", "apple") for n in range(3))
    monkeypatch.setattr(Snapshot, "keys", lambda self: pytest.fail("looked at everything"))
    assert index.add([words_item("one", "pear")]).added == 1
    assert index.add(text(tmp_path / "a.txt", "plum")).added == 1


def test_an_index_deleted_while_it_is_open_is_not_made_anew_in_its_place(
    index: Index, tmp_path: Path
) -> None:
    shutil.rmtree(index.path)
    with pytest.raises(MMSearchError, match="deleted or replaced"):
        mmsearch.create(index.path, model=fake_model())
    index.close()
    mmsearch.create(index.path, model=fake_model()).close()


def test_of_two_that_make_an_index_at_once_the_later_is_refused(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.engine.opening._is_index", lambda folder: False)
    with pytest.raises(UsageError, match="another process"):
        mmsearch.create(index.path, model=fake_model(), recipe="IVF4,PQ8")
    assert index.add([words_item("a", "apple")]).added == 1


def test_the_folder_of_an_index_need_not_have_a_name_in_utf8(
    make_index: Callable[..., Index],
) -> None:
    index = make_index(os.fsdecode(b"index\xff"))
    index.add([words_item("a", "apple")])
    assert [hit.item.source for hit in index.search("apple")] == ["a"]
    assert index.verify() == []


def test_a_large_field_gets_its_codebook_while_items_are_still_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "COMMIT_ITEMS", 100)
    monkeypatch.setattr(plan, "EXACT_ROWS", 300)
    recipes: list[str] = []
    with mmsearch.create(tmp_path / "index", model=fake_model()) as index:

        def items() -> Iterator[Item]:
            for number in range(1500):
                if number % 100 == 0:
                    recipes.extend(field.recipe for field in index.info().fields)
                part = Part("text", Modality.TEXT, text=f"word{number}")
                yield Item(f"item/{number}", (part,))

        index.add(items())
    assert recipes[0] == "exact"
    assert "IVF" in recipes[-1]
