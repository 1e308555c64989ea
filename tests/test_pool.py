"""From a field's candidates to the best items: backgrounds, what is left out early, batches."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, fake_model, word_vector
from media import COLOURS, picture
from PIL import Image

import mmsearch
from mmsearch import DamagedIndexError, Index, Item, Modality, Model, Part
from mmsearch.engine import opened, searching
from mmsearch.search import dense, effort, probing
from mmsearch.search.evidence import OTHERS
from mmsearch.search.pool import Pool
from mmsearch.search.standing import levels
from mmsearch.store.metadata import CHUNK_BITS, Snapshot, StoredItem
from mmsearch.store.reader import Background

WORDS = [f"word{n}" for n in range(30)]
Make = Callable[..., Index]


def texts_item(name: str, *texts: str) -> Item:
    parts = (Part(f"text{n}", Modality.TEXT, text=text) for n, text in enumerate(texts))
    return Item(name, tuple(parts))


def crowded(count: int) -> list[Item]:
    """Items of one to nine chunks, of which many are equal."""
    rng = np.random.default_rng(0)
    return [
        texts_item(f"i{n}", *(" ".join(rng.choice(WORDS, 2)) for _ in range(rng.integers(1, 10))))
        for n in range(count)
    ]


@pytest.fixture(params=[None, "OPQ8,IVF8,PQ8x4"])
def full(
    request: pytest.FixtureRequest, make_index: Make, monkeypatch: pytest.MonkeyPatch
) -> Index:
    """An index that is searched exactly, and one that is not, with few candidates at a time."""
    monkeypatch.setattr(dense, "EXACT_CANDIDATES", 0)
    monkeypatch.setattr(effort, "FIRST_DEPTH", 16)
    index = make_index(recipe=request.param)
    index.add(crowded(120))
    return index


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_a_background_is_its_median_and_deviation_drawn_towards_the_usual(count: int) -> None:
    rng = np.random.default_rng(count)
    sample = rng.normal(0.3, 0.1, (count, 16)).astype(np.float32)
    queries = rng.normal(0, 1, (5, 16)).astype(np.float32)
    products = queries.astype(float) @ sample.T
    spreads = np.sqrt((count * products.var(axis=1) + 30 * 0.1**2) / (count + 30))
    background = Background(np.arange(count), sample)
    found = levels(background, queries)
    centres = np.median(products, axis=1) * count / (count + 3)
    np.testing.assert_allclose([level.centre for level in found], centres, atol=1e-6)
    np.testing.assert_allclose([level.spread for level in found], spreads, rtol=1e-5)
    one_by_one = [levels(background, query[None]) for query in queries]
    assert found == [level for (level,) in one_by_one]


def test_chunks_that_stand_as_high_as_the_last_item_can_be_hits() -> None:
    chunk_ids = np.array([4, 4, 2, 1, 3]) << CHUNK_BITS
    evidence = np.array([3, 2, 1, 1, 0], np.float32)
    ends = [probing._leading(chunk_ids, evidence, k, margin=0) for k in (1, 2, 3, 4, 5)]
    assert ends == [1, 4, 4, 5, 5]
    ends = [probing._leading(chunk_ids, evidence, k, margin=1.5) for k in (1, 2, 3, 4, 5)]
    assert ends == [2, 5, 5, 5, 5]


def test_an_item_that_two_fields_raise_is_found_however_few_are_asked_for(
    index: Index, tmp_path: Path
) -> None:
    """Far more pictures than are scored at first stand as high as the last that counts."""
    red = str(picture(tmp_path / "photo.png", "red"))
    photo = Part("photo", Modality.IMAGE, path=red)
    crowd = [Item(f"p{n}", (photo,)) for n in range(600)]
    raised = [
        Item(f"r{n}", (photo, Part("caption", Modality.TEXT, text=f"red w{n}"))) for n in range(3)
    ]
    index.add([*crowd, *raised])
    every = index.search("red", k=700)
    assert {hit.item.source for hit in every[:3]} == {"r0", "r1", "r2"}
    assert index.search("red", k=2) == every[:2]


class Shades(FakeEncoder):
    """A picture is the sum of its colours' names, each as often as there is much of it."""

    def prepare(self, decoded: Any) -> list[str]:
        if isinstance(decoded, str):
            return super().prepare(decoded)
        shares = np.asarray(decoded).reshape(-1, 3).mean(axis=0) // 16
        pairs = zip(COLOURS, shares.tolist(), strict=True)
        return [name for name, share in pairs for _ in range(int(share))]


def test_few_are_the_first_of_many_where_two_fields_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "_SCANNED_DEPTH", 4)
    monkeypatch.setattr(searching, "LEXICAL_CANDIDATES", 1)  # what words name joins anyway
    rng, items = np.random.default_rng(0), []
    for number in range(300):
        shown = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), tuple(rng.integers(16, 256, 3).tolist())).save(shown)
        said = " ".join(rng.choice([*COLOURS, *WORDS[:4]], 5))
        parts = (
            Part("photo", Modality.IMAGE, path=str(shown)),
            Part("said", Modality.TEXT, text=said),
        )
        items.append(Item(f"i{number}", parts[: 1 + number % 3]))
    model = Model("fake", (Shades(Modality.TEXT), Shades(Modality.IMAGE)))
    with mmsearch.create(tmp_path / "index", model=model) as index:
        assert not index.add(items).failures
        for word, colour, other in itertools.product(WORDS[:4], COLOURS, COLOURS):
            query = f"{colour} {word} {other}"
            every = index.search(query, k=300, target="image")
            assert index.search(query, k=2, target="image") == every[:2]


def pool_of(rows: list[tuple[int, int, float, bool]]) -> Pool:
    """A pool of (item, field, evidence, shown), whose chunks are numbered."""
    items, fields, evidence, shown = map(np.array, zip(*rows, strict=True))
    chunk_ids = (items << CHUNK_BITS) + np.arange(len(rows))
    nothing = np.zeros(len(rows), np.float32)
    column = evidence.astype(np.float32)
    return Pool(chunk_ids, nothing, nothing, nothing, column, column, fields, shown)


def test_an_item_counts_by_its_best_chunk_of_each_field() -> None:
    rows = [
        (5, 0, 2.0, True),
        (3, 0, 1.0, True),
        (4, 0, 0.5, True),
        (3, 0, 2.0, True),  # of equal ones the first
        (5, 1, 3.0, False),
        (3, 0, 2.0, True),
        (5, 1, 1.0, False),
        (4, 1, -9.0, True),
        (6, 1, 9.0, False),  # nothing that could be a hit
    ]
    found = pool_of(rows).items()
    assert found.ids.tolist() == [3, 4, 5]
    assert found.places.tolist() == [3, 2, 0]
    expected = [2, 0.5 + OTHERS * np.log1p(np.exp(-9)), 3 + OTHERS * np.log1p(np.exp(2))]
    np.testing.assert_allclose(found.evidence, expected, rtol=1e-6)


def test_a_pool_of_nothing_has_no_items() -> None:
    none, numbers = np.empty(0, np.float32), np.empty(0, np.int64)
    empty = Pool(numbers, none, none, none, none, none, numbers, np.empty(0, bool))
    assert len(empty.items().ids) == 0


@pytest.mark.parametrize("full", [None], indirect=True)
def test_fewer_hits_are_the_first_of_more(full: Index) -> None:
    for words in ("word1", "word2 word3"):
        for asked in ({"text": words}, {"vector": word_vector(words.split()[0])}):
            every: list[mmsearch.Hit] = full.search(**asked, k=120)
            assert len(every) == 120
            for k in (1, 2, 5, 30):
                assert full.search(**asked, k=k) == every[:k]


def test_a_batch_of_many_blocks_answers_as_one_by_one(
    full: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(opened, "_ITEMS", 9 * 7)  # seven queries at a time
    texts = [" ".join(pair) for pair in itertools.combinations(WORDS[:6], 2)]
    assert full.search_many(texts, k=9) == [full.search(text, k=9) for text in texts]
    vectors = np.stack([word_vector(word) for word in WORDS])
    many = full.search_many(vectors=vectors, k=9)
    assert many == [full.search(vector=vector, k=9) for vector in vectors]


def test_a_batch_reads_a_hit_once(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add([texts_item(f"i{n}", word) for n, word in enumerate(WORDS)])
    read: list[int] = []
    item = Snapshot.item

    def spy(snapshot: Snapshot, item_id: int) -> StoredItem | None:
        read.append(item_id)
        return item(snapshot, item_id)

    monkeypatch.setattr(Snapshot, "item", spy)
    answers = index.search_many(WORDS, k=10)
    assert sum(map(len, answers)) == 10 * len(WORDS)
    assert len(read) == len(set(read)) <= len(WORDS)


def test_damage_that_a_thread_of_a_batch_meets_is_told(tmp_path: Path, make_index: Make) -> None:
    make_index().add([texts_item(f"i{n}", word) for n, word in enumerate(WORDS)])
    (path,) = (tmp_path / "index").glob("*.vectors")
    flipped = bytearray(path.read_bytes())
    flipped[-1000] ^= 1
    path.write_bytes(flipped)
    with mmsearch.open(tmp_path / "index", model=fake_model()) as index:
        asked: dict[str, Any] = {"vectors": np.stack([word_vector(word) for word in WORDS])}
        with pytest.raises(DamagedIndexError, match="repair"):
            index.search_many(**asked)
