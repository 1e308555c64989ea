"""What filters and words cost: `python benchmarks/where.py [--items 1000000] [--seed 0]`.

Builds a catalog of synthetic items (a caption of about 10 words; six columns) and prints the time
of filters by selectivity, of word queries by how common their words are, of preferences, of opening
and closing, the rate of writing and the size. Filters are also run on the design that was not
chosen: the same columns as JSON, read with json_extract and json_each.
"""

import argparse
import json
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mmsearch.records import ColumnValue
from mmsearch.store.catalog import Catalog, CatalogItem
from mmsearch.store.catalog_check import check_catalog
from mmsearch.store.catalog_writer import CatalogWriter
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.seal import Descriptor

COMMON = {"a": 0.9, "in": 0.45, "the": 0.45, "on": 0.4, "and": 0.25, "dog": 0.2, "grass": 0.05}
QUERIES = (
    "surfboard",
    "grass",
    "dog",
    "on the",
    "dog grass",
    "a dog on the grass",
    "a dog and a surfboard on the grass in the word3 word50 word4000",
)
FILTERS = (
    ("0.1 %", "code = 'k123'", "json_extract(v, '$.code') = 'k123'"),
    ("0.1 %", "title LIKE '%0123%'", "json_extract(v, '$.title') LIKE '%0123%'"),
    ("0.3 %", "'t7' IN tags", "EXISTS (SELECT 1 FROM json_each(v, '$.tags') WHERE value = 't7')"),
    ("10 %", "year = 2020", "json_extract(v, '$.year') = 2020"),
    (
        "10 %",
        "lang = 'en' AND rating > 0.8",
        "json_extract(v, '$.lang') = 'en' AND json_extract(v, '$.rating') > 0.8",
    ),
    ("50 %", "lang = 'en'", "json_extract(v, '$.lang') = 'en'"),
    ("50 %", "rating BETWEEN 0.25 AND 0.75", "json_extract(v, '$.rating') BETWEEN 0.25 AND 0.75"),
)
BLOCK = 10_000


def items(count: int, seed: int) -> Iterator[CatalogItem]:
    """Captions with the word frequencies of photo captions, and columns of known selectivity."""
    rng = np.random.default_rng(seed)
    zipf = 1 / np.arange(1, 30_001)
    zipf /= zipf.sum()
    names, rates = list(COMMON), np.array(list(COMMON.values()))
    for start in range(1, count + 1, BLOCK):
        rare = rng.choice(len(zipf), size=(BLOCK, 6), p=zipf)
        common = rng.random((BLOCK, len(names))) < rates
        numbers = rng.random((BLOCK, 4))
        tags = rng.integers(0, 1000, size=(BLOCK, 3))
        for i in range(min(BLOCK, count + 1 - start)):
            item_id = start + i
            words = [names[k] for k in np.flatnonzero(common[i])]
            words += [f"word{k}" for k in rare[i]]
            if item_id % 1000 == 0:
                words.append("surfboard")
            columns: dict[str, ColumnValue] = {
                "lang": "en" if numbers[i, 0] < 0.5 else "de",
                "year": 2016 + int(10 * numbers[i, 1]),
                "rating": float(numbers[i, 2]),
                "code": f"k{int(1000 * numbers[i, 3])}",
                "title": f"IMG_{item_id:07d}",
                "tags": tuple(f"t{k}" for k in tags[i]),
            }
            yield CatalogItem(item_id, columns, [(item_id << CHUNK_BITS, " ".join(words))])


def milliseconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time, after one call that fills the page cache."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def write_rates(folder: Path, seed: int) -> None:
    """Commits of 1,000 items, with and without waiting for the disk."""
    for level in ("OFF", "NORMAL", "FULL"):
        with CatalogWriter(folder / f"{level}.sqlite") as writer:
            writer._connection.execute(f"PRAGMA synchronous = {level}")
            batch, times = iter(items(20_000, seed)), []
            for stamp in range(1, 21):
                added = [next(batch) for _ in range(1000)]
                start = time.perf_counter()
                writer.write(added, [], stamp)
                times.append(time.perf_counter() - start)
        print(
            f"commit of 1,000 items, synchronous={level:7}{1e3 * statistics.median(times):9.1f} ms"
        )


def json_file(path: Path, count: int, seed: int) -> sqlite3.Connection:
    """The design that was not chosen."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v TEXT)")
    rows = ((item.item_id, json.dumps(dict(item.columns))) for item in items(count, seed))
    connection.executemany("INSERT INTO item VALUES (?, ?)", rows)
    connection.commit()
    return connection


def opening(path: Path) -> None:
    """Opening, with the check of the seal, and what the check of everything costs."""
    print(f"open, checking the seal{milliseconds(lambda: Catalog(path).close()):10.1f} ms")
    descriptor = Descriptor.acquire(path)
    print(f"hash of the file{milliseconds(descriptor.seal):10.1f} ms")
    descriptor.release()


def filters(catalog: Catalog, alternative: sqlite3.Connection) -> None:
    """Each filter in both designs; the answers must agree."""
    catalog.where("year = 1")  # loads sqlglot
    for share, expression, other in FILTERS:
        found = catalog.where(expression)
        sql = f"SELECT id FROM item WHERE {other} ORDER BY id"

        def with_json(sql: str = sql) -> list[int]:
            return [row[0] for row in alternative.execute(sql)]

        if with_json() != found.tolist():
            sys.exit(f"{expression}: the designs disagree")
        ours = milliseconds(lambda e=expression: catalog.where(e))  # type: ignore[misc]
        theirs = milliseconds(with_json, repeats=2)
        print(f"{share:6} {expression:32}{len(found):9,} items{ours:9.1f} ms, JSON{theirs:9.1f} ms")


def preferences(catalog: Catalog, count: int, seed: int) -> None:
    """What `--prefer` looks up: how a column is spread, once a commit, and a query's candidates."""
    some = np.linspace(1, count, min(count, 4_000)).astype(np.int64)
    found = np.sort(np.random.default_rng(seed).choice(count, 200, replace=False) + 1)
    for column in ("rating", "code"):
        spread, query = (
            milliseconds(lambda c=column, i=ids: catalog.values(c, i))  # type: ignore[misc]
            for ids in (some, found)
        )
        print(f"prefer {column}: once {spread:.1f} ms, each query {query:.1f} ms")


def word_queries(catalog: Catalog) -> None:
    """The best 200 passages for each query."""
    for query in QUERIES:
        found = catalog.lexical(query, 200)
        spent = milliseconds(lambda q=query: catalog.lexical(q, 200))  # type: ignore[misc]
        print(f"{query:64}{len(found):5} passages, best {found[0][1]:.2f}{spent:9.1f} ms")


def main() -> None:
    """Run and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    print(f"{platform.processor() or platform.machine()}, {platform.system()}")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},", end=" ")
    print(f"commit {commit.stdout.strip()}, seed {options.seed}, {options.items:,} items")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rates(folder, options.seed)
        path = folder / "catalog.sqlite"
        start = time.perf_counter()
        with CatalogWriter(path) as writer:
            writer.rebuild(items(options.items, options.seed), 1)
        rate = options.items / (time.perf_counter() - start)
        print(f"rebuild {rate:,.0f} items/s, {path.stat().st_size / options.items:.0f} bytes/item")
        opening(path)
        with Catalog(path) as catalog:
            word_queries(catalog)
            preferences(catalog, options.items, options.seed)
            filters(catalog, json_file(folder / "json.sqlite", options.items, options.seed))
        start = time.perf_counter()
        problems = check_catalog(path, items(options.items, options.seed))
        print(f"full check {time.perf_counter() - start:.1f} s, {len(problems)} problems")


if __name__ == "__main__":
    main()
