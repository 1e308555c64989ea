"""Flipped bytes in the catalog: refused while sealed, found by the check, never a crash."""

import random
from pathlib import Path

import pytest

from mmsearch.errors import DamagedIndexError, MMSearchError
from mmsearch.store.catalog import Catalog, CatalogItem
from mmsearch.store.catalog_check import check_catalog
from mmsearch.store.catalog_writer import CatalogWriter
from mmsearch.store.metadata import CHUNK_BITS

QUERIES = ("zor", "bek mip", "gan tuf lod", "狗", "item7")
EXPRESSIONS = ("lang = 'en'", "n > 20", "'a' IN tags", "NOT 'a' IN tags", "lang IS NULL", "n < 5")


def items() -> list[CatalogItem]:
    rng = random.Random(5)
    vocabulary = ["zor", "bek", "mip", "tuf", "gan", "lod", "狗在沙滩", *map(str, range(60))]
    return [
        CatalogItem(
            i,
            {"lang": rng.choice(["en", "de", None]), "n": i, "tags": tuple(rng.sample("abcd", 2))},
            [
                (i << CHUNK_BITS, " ".join(rng.choices(vocabulary, k=30))),
                (i << CHUNK_BITS | 1, f"item{i}.jpg"),
            ],
        )
        for i in range(1, 81)
    ]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "catalog.sqlite"
    with CatalogWriter(path) as writer:
        for i in range(0, 80, 20):
            writer.write(items()[i : i + 20], [], i + 1)
    return path


def answers(path: Path) -> object:
    """Everything that the catalog can be asked, or what it says instead."""
    with Catalog(path) as catalog:
        return (
            catalog.stamp,
            catalog.columns(),
            [catalog.lexical(query, 1000) for query in QUERIES],
            [catalog.where(expression).tolist() for expression in EXPRESSIONS],
        )


def positions(size: int, count: int) -> list[int]:
    """Bytes to flip: some in SQLite's header, the others anywhere."""
    rng = random.Random(size)
    return [*rng.sample(range(100), 15), *(rng.randrange(size) for _ in range(count))]


def flipped(content: bytes, position: int) -> bytes:
    mask = random.Random(position).randrange(1, 256)
    return content[:position] + bytes([content[position] ^ mask]) + content[position + 1 :]


def test_a_sealed_file_is_never_answered_from(sound: Path, tmp_path: Path) -> None:
    content, path = sound.read_bytes(), tmp_path / "catalog.sqlite"
    seal = Path(f"{sound}.seal").read_bytes()
    Path(f"{path}.seal").write_bytes(seal)
    for position in positions(len(content), 60):
        path.write_bytes(flipped(content, position))
        for opening in (Catalog, CatalogWriter):
            with pytest.raises(DamagedIndexError, match="mmsearch repair"):
                opening(path)
    path.write_bytes(content)
    for position in range(len(seal)):
        Path(f"{path}.seal").write_bytes(flipped(seal, position))
        with pytest.raises(DamagedIndexError):
            Catalog(path)


@pytest.mark.parametrize("length", [0, 1, 50, 100, 5_000, 20_000])
def test_truncated(sound: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(sound.read_bytes()[:length])
    assert check_catalog(path, items()) != []
    with pytest.raises(DamagedIndexError):
        answers(path)
    if length > 1:  # SQLite takes up to one byte for a new database, with nothing in it
        with pytest.raises(DamagedIndexError):
            CatalogWriter(path)
        assert not Path(f"{path}.seal").exists()


def test_a_writer_that_meets_damage_does_not_seal_it(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(sound.read_bytes())
    with CatalogWriter(path) as writer:
        writer._connection.execute("UPDATE passage_data SET block = x'00ff' WHERE id > 10")
        with pytest.raises(DamagedIndexError):
            writer.write([CatalogItem(900, {}, [(900 << CHUNK_BITS, "zor")])], range(80), 99)
    assert not Path(f"{path}.seal").exists()
    assert check_catalog(path, items()) != []


def test_without_a_seal_the_check_finds_what_matters(sound: Path, tmp_path: Path) -> None:
    """Each flip is reported, or changes no answer; nothing raises an error of SQLite's."""
    content, path = sound.read_bytes(), tmp_path / "catalog.sqlite"
    expected, undamaged, reported = items(), answers(sound), 0
    flips = positions(len(content), 60)
    for position in flips:
        path.write_bytes(flipped(content, position))
        problems = check_catalog(path, expected)
        reported += bool(problems)
        try:
            found = answers(path)
        except MMSearchError as error:
            found = error
        assert problems or found == undamaged, position
    assert reported > len(flips) / 4
