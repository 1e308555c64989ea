"""The catalog's life: writing, removing, rebuilding, readers beside a writer, kills."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsearch.errors import DamagedIndexError, IndexFormatError, MMSearchError
from mmsearch.records import ColumnValue
from mmsearch.store.catalog import Catalog, CatalogItem
from mmsearch.store.catalog_check import check_catalog
from mmsearch.store.catalog_writer import CatalogWriter, discard
from mmsearch.store.columns import Kind
from mmsearch.store.metadata import CHUNK_BITS


def item(item_id: int, **columns: ColumnValue) -> CatalogItem:
    """An item with two texts, which say its number."""
    first = item_id << CHUNK_BITS
    return CatalogItem(item_id, columns, [(first, f"zor {item_id}"), (first | 7, "mip")])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


def test_write_and_read(path: Path) -> None:
    with CatalogWriter(path) as writer:
        assert writer.stamp == 0
        writer.write([item(1, lang="en"), item(2, lang=5, tags=("a",))], [], 1)
        writer.write([item(3)], [1, 99], 2)
        assert writer.stamp == 2
    with Catalog(path) as catalog:
        assert catalog.stamp == 2
        assert [chunk >> CHUNK_BITS for chunk, _ in catalog.lexical("zor", 9)] == [2, 3]
        assert catalog.where("lang IS NOT NULL").tolist() == [2]
        kinds = {column.name: column.kinds for column in catalog.columns()}
        assert kinds == {"lang": Kind.TEXT | Kind.NUMBER, "tags": Kind.LIST}
    assert check_catalog(path, [item(3), item(2, lang=5, tags=("a",))]) == []


def test_prune_takes_back_what_was_never_committed(path: Path) -> None:
    with CatalogWriter(path) as writer:
        writer.write([item(1)], [], 1)
        writer.write([item(2), item(3)], [], 2)
        writer.prune(2, 1)
        assert writer.stamp == 1
        writer.write([item(2, lang="en")], [], 2)
    assert check_catalog(path, [item(1), item(2, lang="en")]) == []


def test_a_failed_write_leaves_nothing(path: Path) -> None:
    def items() -> Iterator[CatalogItem]:
        yield from (item(i, lang="en") for i in range(2, 1500))
        raise RuntimeError("decoder")

    with CatalogWriter(path) as writer:
        writer.write([item(1)], [], 1)
        with pytest.raises(RuntimeError, match="decoder"):
            writer.write(items(), [], 2)
        assert writer.stamp == 1
        writer.write([item(2, lang="de")], [], 2)
    assert check_catalog(path, [item(1), item(2, lang="de")]) == []


def test_rebuild_replaces_everything(path: Path) -> None:
    with CatalogWriter(path) as writer:
        writer.write([item(i, old=i) for i in range(1, 20)], [], 1)
        writer.rebuild([item(i, new=i) for i in range(5, 9)], 7)
        assert writer.stamp == 7
    with Catalog(path) as catalog:
        assert [column.name for column in catalog.columns()] == ["new"]
    assert check_catalog(path, [item(i, new=i) for i in range(5, 9)]) == []


def test_check_reports_differences(path: Path) -> None:
    with CatalogWriter(path) as writer:
        writer.write([item(1, lang="en"), item(2), item(3)], [], 1)
    assert check_catalog(path, [item(1, lang="en"), item(2)], pending=[3, 4]) == []
    for expected, problem in (
        ([item(1, lang="de"), item(2), item(3)], "the columns of item 1 are wrong"),
        ([item(1, lang="en"), item(2, x=1), item(3)], "column 'x' is missing"),
        ([item(1, lang="en"), item(2), item(3), item(4)], "item 4 is missing"),
        ([item(1, lang="en"), item(2)], "1 rows of table item belong to no item"),
        ([item(1, lang="en"), item(2), CatalogItem(3, {}, [])], "the texts of item 3 are wrong"),
    ):
        assert any(problem in line for line in check_catalog(path, expected)), problem
    assert "missing" in check_catalog(path.with_name("nothing"), [])[0]
    assert len(check_catalog(path, [item(i) for i in range(10, 90)])) == 21


def test_readers_beside_a_writer_see_whole_commits(path: Path) -> None:
    """Each commit holds ten items and nothing else; no reader may see another number."""
    wrong: list[object] = []
    stop = threading.Event()

    def read(catalog: Catalog) -> None:
        while not stop.is_set():
            found = {chunk >> CHUNK_BITS for chunk, _ in catalog.lexical("zor", 1000)}
            ids = catalog.where("batch > 0").tolist()
            if len(found) != 10 or len(ids) != 10 or ids[0] % 10:
                wrong.append((found, ids))

    with CatalogWriter(path) as writer:
        writer.write([item(i, batch=1) for i in range(10, 20)], [], 1)
        with Catalog(path) as catalog:
            threads = [threading.Thread(target=read, args=(catalog,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for n in range(2, 22):
                first = 10 * n
                added = [item(i, batch=n) for i in range(first, first + 10)]
                writer.write(added, range(first - 10, first), n)
            stop.set()
            for thread in threads:
                thread.join()
    assert wrong == []


def test_opening_while_writers_come_and_go(path: Path) -> None:
    """The seal is taken away and put back under the reader: no false alarm."""
    with CatalogWriter(path) as writer:
        writer.write([item(0)], [], 0)
    stop = threading.Event()

    def write() -> None:
        for n in range(1, 9):
            with CatalogWriter(path) as writer:
                writer.write([item(n)], [], n)
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not stop.is_set():
        with Catalog(path) as catalog:
            assert 1 <= len(catalog.lexical("mip", 99)) <= 9
    thread.join()
    assert Path(f"{path}.seal").exists()


def test_closing_one_reader_leaves_the_locks_of_another(path: Path) -> None:
    """Else a writer in another process would take the log away from under the open reader."""
    close_a_writer = (
        "import sys; from pathlib import Path;"
        "from mmsearch.store.catalog_writer import CatalogWriter;"
        "CatalogWriter(Path(sys.argv[1])).close()"
    )
    with CatalogWriter(path) as writer:
        writer.write([item(1)], [], 1)
    with Catalog(path) as catalog:
        assert len(catalog.lexical("zor", 5)) == 1
        Catalog(path).close()
        subprocess.run([sys.executable, "-c", close_a_writer, str(path)], check=True)
        assert Path(f"{path}-shm").exists()
        assert len(catalog.lexical("zor", 5)) == 1


def test_a_closed_catalog_says_so(path: Path) -> None:
    with CatalogWriter(path) as writer, Catalog(path) as catalog:
        assert writer.stamp == catalog.stamp == 0
    with pytest.raises(MMSearchError, match="is closed"):
        catalog.lexical("dog", 1)


def test_a_newer_format_is_refused(path: Path) -> None:
    with CatalogWriter(path) as writer:
        writer._connection.execute("PRAGMA user_version = 99")
    for opening in (Catalog, CatalogWriter):
        with pytest.raises(IndexFormatError, match="format 99"):
            opening(path)


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(DamagedIndexError, match="mmsearch repair"):
        Catalog(path)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff ?#%41") / "c.sqlite"
    path.parent.mkdir()
    with CatalogWriter(path) as writer:
        writer.write(
            [CatalogItem(1, {"a\udcff\0b": "x\udcff\0y"}, [(1 << 20, "\udcff zor")])], [], 1
        )
    with Catalog(path) as catalog:
        assert catalog.where("\"a?\ufffdb\" = 'x?\ufffdy'").tolist() == [1]
        assert len(catalog.lexical("zor", 5)) == 1


def test_a_folder_where_nothing_can_be_created(path: Path) -> None:
    """Root may write anywhere, so a -shm file that leads nowhere stands for a denial."""
    with CatalogWriter(path) as writer:
        writer.write([item(1)], [], 1)
    shm = Path(f"{path}-shm")
    shm.unlink(missing_ok=True)
    shm.symlink_to("nowhere/shm")
    with Catalog(path) as catalog:
        assert len(catalog.lexical("zor", 5)) == 1
    log = Path(f"{path}-wal")
    log.write_bytes(b"x")
    with pytest.raises(DamagedIndexError, match="log that does not belong"):
        Catalog(path)
    Path(f"{path}.seal").unlink()
    with pytest.raises(DamagedIndexError, match="unfinished write"):
        Catalog(path)


def test_discard_makes_room_for_a_new_one(path: Path) -> None:
    with CatalogWriter(path) as writer:
        writer.write([item(1)], [], 1)
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DamagedIndexError):
        CatalogWriter(path)
    discard(path)
    assert list(path.parent.iterdir()) == []
    with CatalogWriter(path) as writer:
        assert writer.stamp == 0


WRITER = """
import itertools, sys
from pathlib import Path
from mmsearch.store.catalog import CatalogItem
from mmsearch.store.catalog_writer import CatalogWriter

def item(i):
    return CatalogItem(i, {f"c{i % 7}": i}, [(i << 20, f"zor {i}"), (i << 20 | 7, "mip")])

with CatalogWriter(Path(sys.argv[1])) as writer:
    start = writer.stamp
    for n in itertools.count(start + 1):
        if n % 5 == 0:
            writer.rebuild(map(item, range(1, 50 * n + 1)), n)
        else:
            writer.write(map(item, range(50 * n - 49, 50 * n + 1)), [], n)
        print(n, flush=True)
"""


def test_kills_lose_nothing_that_was_committed(path: Path) -> None:
    committed = 0
    for after_s in (0.05, 0.17, 0.02):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        committed = int(process.stdout.readline())
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        committed = int((process.stdout.read().split() or [str(committed)])[-1])
        process.wait()
        process.stdout.close()
        with Catalog(path) as catalog:
            stamp = catalog.stamp
            assert stamp in (committed, committed + 1)
            assert len(catalog.lexical("zor", 10**6)) == 50 * stamp
        items = (
            CatalogItem(i, {f"c{i % 7}": i}, [(i << 20, f"zor {i}"), (i << 20 | 7, "mip")])
            for i in range(1, 50 * stamp + 1)
        )
        assert check_catalog(path, items) == []
