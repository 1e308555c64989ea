"""Several processes on one index: one writer, readers that always see one commit."""

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from contents import write_texts
from fakes import fake_model
from killing import fast_folder

import mmsearch
from mmsearch.engine import opened, searching
from mmsearch.records import Item, Modality, Part
from mmsearch.store.lock import WriterLock

ITEMS = 12
ROUNDS = 6
SAW_COMMITS = {"a", "b", "a b"}
"""What a reader may report: editions it saw whole; slow ones miss some."""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["killing", "mmsearch.engine.index"])


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as made:
        yield made


def edition(word: str) -> list[Item]:
    """One edition of the same items: all their texts and columns name it."""
    return [
        Item(
            f"item{n}",
            (Part("text", Modality.TEXT, text=f"dog {word} number{n}"),),
            columns={"edition": word},
        )
        for n in range(ITEMS)
    ]


def look(index: mmsearch.Index, word: str) -> str:
    """Search in three ways; returns the one edition that all hits of a search are of."""
    hits = index.search("dog", k=ITEMS)
    many = index.search_many(["dog", f"dog {word}"], k=ITEMS)
    for found in (hits, *many):
        assert len(found) == ITEMS, f"{len(found)} hits"
        assert len({hit.item.source for hit in found}) == ITEMS
        editions = {hit.item.columns["edition"] for hit in found}
        assert len(editions) == 1, f"a mixture: {editions}"
    for hit in hits:
        assert hit.text == f"dog {hit.item.columns['edition']} number{hit.item.source[4:]}"
        assert hit.signals["cosine"] > 0.2
    selected = index.search("dog", k=ITEMS, where=f"edition = '{word}'")
    assert len(selected) in (0, ITEMS), f"{len(selected)} items of edition {word}"
    return str(hits[0].item.columns["edition"])


def keep_looking(
    path: Path, started: Event, stop: Event, seen: "multiprocessing.Queue[str]"
) -> None:
    """Search until told to stop; whatever goes wrong is put into ``seen``."""
    with mmsearch.open(path, model=fake_model()) as index:
        editions = set()
        try:
            while not stop.is_set():
                editions.add(look(index, "a"))
                editions.add(look(index, "b"))
                started.set()
        except BaseException as error:
            seen.put(f"{type(error).__name__}: {error}")
            raise
        finally:
            started.set()
        seen.put(" ".join(sorted(editions)))


class Readers:
    """Readers in processes of their own; a context manager that says what they saw."""

    def __init__(self, path: Path, count: int = 2) -> None:
        self._stop = _CONTEXT.Event()
        self._seen: multiprocessing.Queue[str] = _CONTEXT.Queue()
        self._started = [_CONTEXT.Event() for _ in range(count)]
        self._processes = [
            _CONTEXT.Process(target=keep_looking, args=(path, started, self._stop, self._seen))
            for started in self._started
        ]

    def start(self) -> None:
        for process in self._processes:
            process.start()
        for started in self._started:
            assert started.wait(60)

    def finish(self) -> list[str]:
        self._stop.set()
        saw = [self._seen.get(timeout=60) for _ in self._processes]
        for process in self._processes:
            process.join()
        return saw


def test_readers_beside_a_writer_see_one_commit(folder: Path) -> None:
    path = folder / "index"
    with mmsearch.create(path, model=fake_model()) as index:
        index.add(edition("a"))
        readers = Readers(path)
        readers.start()
        for n in range(ROUNDS):
            index.add(edition("ba"[n % 2]))
        assert set(readers.finish()) <= SAW_COMMITS


def test_readers_beside_compaction_go_on(folder: Path) -> None:
    path = folder / "index"
    with mmsearch.create(path, model=fake_model()) as index:
        index.add(edition("a"))
        readers = Readers(path)
        readers.start()
        for n in range(ROUNDS // 2):
            index.add(edition("ba"[n % 2]))
            index.compact()
        assert set(readers.finish()) <= SAW_COMMITS


def test_a_reader_from_before_a_compaction_goes_on(folder: Path) -> None:
    path = folder / "index"
    with mmsearch.create(path, model=fake_model()) as index:
        index.add(edition("a"))
        with mmsearch.open(path, model=fake_model()) as reader:
            before = look(reader, "a")
            index.compact()
            assert look(reader, "a") == before == "a"
            index.add(edition("b"))
            index.compact()
            assert look(reader, "b") == "b"


def test_a_search_that_two_commits_overtake_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "index"
    with mmsearch.create(path, model=fake_model()) as index:
        index.add(edition("a"))
        overtaking = [edition("b"), edition("a"), edition("b")]
        search = searching.run_search

        def overtaken(*args: Any) -> list[list[mmsearch.Hit]]:
            while overtaking:
                index.add(overtaking.pop(0))
            return search(*args)

        monkeypatch.setattr(opened, "run_search", overtaken)
        assert len(index.search("dog", k=ITEMS, where="edition = 'b'")) == ITEMS


def _hold_lock(path: Path, held: Event, release: Event) -> None:
    lock = WriterLock(path)
    held.set()
    release.wait(60)
    lock.release()


def test_a_second_writer_is_refused_in_one_line(folder: Path) -> None:
    path, sources = folder / "index", write_texts(folder / "sources", 1)
    mmsearch.create(path, model=fake_model()).close()
    held, release = _CONTEXT.Event(), _CONTEXT.Event()
    holder = _CONTEXT.Process(target=_hold_lock, args=(path, held, release))
    holder.start()
    assert held.wait(60)
    with mmsearch.open(path, model=fake_model()) as index:
        for write in (lambda: index.add(sources), index.compact, index.verify, index.repair):
            with pytest.raises(mmsearch.IndexLockedError, match=f"pid {holder.pid}") as refused:
                write()
            assert "\n" not in str(refused.value)
        release.set()
        holder.join()
        assert index.add(sources).added == 1


def test_a_reader_goes_on_with_a_catalog_that_another_process_repaired(tmp_path: Path) -> None:
    source = tmp_path / "notes"
    source.mkdir()
    (source / "old.txt").write_text("an old word")
    path = tmp_path / "index"
    with mmsearch.create(path, model=fake_model()) as index:
        index.add(source)
        assert index.search("old", k=1)[0].signals["lexical"] > 0
        catalog = path / "catalog.sqlite"
        spoiled = catalog.read_bytes()[:1000]
        (path / "spoiled").write_bytes(spoiled)
        (path / "spoiled").replace(catalog)
        repair = [sys.executable, "-m", "mmsearch", "repair", "--index", str(path)]
        subprocess.run(repair, check=True, capture_output=True)
        (source / "new.txt").write_text("a new word")
        index.add(source)
        assert index.search("new", k=1)[0].item.path.name == "new.txt"
        assert index.search("old", k=1)[0].signals["lexical"] > 0
