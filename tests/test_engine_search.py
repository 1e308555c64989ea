"""What a search promises, compared with brute force over the vectors on disk."""

import itertools
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, fake_model, word_vector
from media import COLOURS, PITCHES_HZ, picture, sound, text
from PIL import Image

import mmsearch
from mmsearch import (
    DamagedIndexError,
    DecodeError,
    Hit,
    Index,
    Item,
    Modality,
    Model,
    Part,
    UsageError,
)
from mmsearch.records import FloatArray
from mmsearch.search import dense, effort
from mmsearch.store.once import computed_once

WORDS = [f"word{n}" for n in range(40)]
DIRECTIONS = list(itertools.product((Modality.TEXT, Modality.IMAGE, Modality.AUDIO), repeat=2))
Found = list[tuple[str, float]]


def words_item(name: str, words: str, **columns: Any) -> Item:
    return Item(name, (Part("text", Modality.TEXT, text=words),), columns=columns)


def some_items(count: int) -> list[Item]:
    rng = np.random.default_rng(0)
    return [
        words_item(f"i{n}", " ".join(rng.choice(WORDS, 3)), number=n, even=n % 2 == 0)
        for n in range(count)
    ]


def brute_force(index: Index, query: FloatArray, modality: Modality = Modality.TEXT) -> Found:
    """Every live item with its best chunk's inner product, by falling score, then by id."""
    with index._reader.view() as view:
        name = next(name for name in view.state.fields if name.modality is modality)
        best: dict[int, float] = {}
        for ids, vectors in view.state.fields[name].blocks():
            for chunk_id, vector in zip(ids.tolist(), vectors, strict=True):
                score = float(vector.astype(np.float32) @ query)
                best[chunk_id >> 20] = max(best.get(chunk_id >> 20, -2.0), score)
        items = {s.id: s.item.source for s in view.snapshot.items()}
    order = sorted((-score, number) for number, score in best.items() if number in items)
    return [(items[number], -score) for score, number in order]


def cosines(hits: list[Hit]) -> Found:
    return [(hit.item.source, hit.signals["cosine"]) for hit in hits]


def same(found: Found, expected: Found) -> bool:
    scores = np.allclose([s for _, s in found], [s for _, s in expected], atol=1e-6)
    return [i for i, _ in found] == [i for i, _ in expected] and bool(scores)


def by_meaning(index: Index, words: str, k: int = 10, **options: Any) -> Found:
    """Search without the lexical signal, which a spoken query has none of."""
    from mmsearch.engine.embedding import embed_many
    from mmsearch.engine.query import Query
    from mmsearch.engine.request import Request

    model = index.model
    terms = embed_many([Query(words)], model)[0]
    request = Request([Modality.TEXT], k, options.get("where"))
    spoken = Query(audio="unread.wav")
    return cosines(index._search_embedded(model, [spoken], [terms], request)[0])


@pytest.fixture
def media_index(index: Index, tmp_path: Path) -> Index:
    for colour in COLOURS:
        picture(tmp_path / f"m/p-{colour}.png", colour)
        text(tmp_path / f"m/t-{colour}.txt", colour)
    for pitch in PITCHES_HZ:
        sound(tmp_path / f"m/s-{pitch}.wav", pitch)
        text(tmp_path / f"m/t-{pitch}.txt", pitch)
    index.add(tmp_path / "m")
    return index


@pytest.mark.parametrize(("asked", "target"), DIRECTIONS)
def test_every_direction_finds_its_match_first(
    media_index: Index, tmp_path: Path, asked: Modality, target: Modality
) -> None:
    meaning = "high" if Modality.AUDIO in (asked, target) else "green"
    files = {"text": meaning, "image": f"m/p-{meaning}.png", "audio": f"m/s-{meaning}.wav"}
    query = meaning if asked is Modality.TEXT else str(tmp_path / files[asked])
    if {asked, target} == {Modality.IMAGE, Modality.AUDIO}:  # a colour has no pitch
        query = str(tmp_path / ("m/p-green.png" if asked is Modality.IMAGE else "m/s-high.wav"))
        hits = media_index.search(**{asked: query}, target=target)  # type: ignore[arg-type]
        assert {hit.part.modality for hit in hits} == {target}
        return
    first = media_index.search(**{asked: query}, target=target)[0]  # type: ignore[arg-type]
    assert first.part.modality is target
    assert meaning in first.item.path.name
    assert first.signals["cosine"] == pytest.approx(1, abs=1e-3)


def test_several_modalities_make_one_query(media_index: Index, tmp_path: Path) -> None:
    query = {"image": tmp_path / "m/p-red.png", "audio": tmp_path / "m/s-low.wav"}
    names = [hit.item.path.name for hit in media_index.search("blue", **query, k=6)]  # type: ignore[arg-type]
    assert {name.split("-")[1].split(".")[0] for name in names} == {"red", "low", "blue"}


def test_targets_restrict_what_is_found(media_index: Index) -> None:
    hits = media_index.search("red", target=["image", "audio"], k=100)
    assert {hit.part.modality for hit in hits} == {Modality.IMAGE, Modality.AUDIO}
    assert len(media_index.search("red", k=100)) == 10
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def test_scores_fall_and_rise_with_relevance(media_index: Index) -> None:
    scores = [hit.score for hit in media_index.search("red", k=100)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "empty query"),
        ({"text": " "}, "empty"),
        ({"text": "red", "k": 0}, "k is 0"),
        ({"text": "red", "target": "smell"}, "smell: a modality is one of"),
        ({"text": "red", "target": []}, "target is empty"),
        ({"text": "red", "where": "colour = 1"}, "colour"),
        ({"text": "red", "where": "1 = "}, "where"),
    ],
)
def test_a_wrong_search_says_what_is_wrong(
    media_index: Index, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        media_index.search(**options)


def test_a_target_that_is_not_there_is_named(index: Index, tmp_path: Path) -> None:
    index.add(text(tmp_path / "red.txt", "red"))
    with pytest.raises(UsageError, match=r"holds no audio \(it holds text\)"):
        index.search("red", target="audio")


def test_a_modality_without_live_items_is_refused_before_and_after_compaction(
    media_index: Index, tmp_path: Path
) -> None:
    media_index.remove([tmp_path / f"m/p-{colour}.png" for colour in COLOURS])
    for _ in range(2):
        with pytest.raises(UsageError, match="holds no image .it holds audio, text"):
            media_index.search("red", target="image")
        media_index.compact()


def test_an_empty_index_says_so(index: Index) -> None:
    with pytest.raises(UsageError, match="nothing yet"):
        index.search("red")


def test_a_damaged_query_file_is_named(media_index: Index, tmp_path: Path) -> None:
    for option, name in (("image", "bad.png"), ("audio", "bad.wav"), ("image", "absent.png")):
        if name.startswith("bad"):
            text(tmp_path / name, "neither")
        with pytest.raises(DecodeError, match=name):
            media_index.search(**{option: tmp_path / name})  # type: ignore[arg-type]


def test_exact_search_equals_brute_force(index: Index) -> None:
    index.add(some_items(500))
    for word in WORDS[:5]:
        assert same(by_meaning(index, word, k=20), brute_force(index, word_vector(word))[:20])


def test_equal_items_come_in_the_order_of_their_ids_whatever_the_segments(index: Index) -> None:
    for start in range(0, 900, 100):
        index.add([words_item(f"i{n}", "same") for n in range(start, start + 100)])
    before = index.search("same", k=30)
    assert [hit.item.id for hit in before] == list(range(1, 31))
    index.compact()
    assert index.search("same", k=30) == before


def test_k_counts_items_although_many_chunks_of_one_match(index: Index) -> None:
    long = " ".join(["whale"] * 6000)
    others = [words_item(f"i{n}", "whale " + WORDS[n]) for n in range(30)]
    index.add([words_item("long", long), *others])
    with index._reader.view() as view:
        rows = next(iter(view.state.fields.values())).rows
    assert rows > 400
    found = by_meaning(index, "whale", k=20)
    assert same(found, brute_force(index, word_vector("whale"))[:20])
    assert len({source for source, _ in found}) == 20
    assert len(by_meaning(index, "whale", k=1000)) == 31


def test_words_do_not_cut_short_the_search_by_meaning(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items found by their words fill k, and yet the better ones by meaning are found."""
    long = " ".join(["whale"] * 6000)
    near = [words_item(f"near{n}", "whale") for n in range(5)]
    far = [words_item(f"whale{n}", WORDS[n]) for n in range(12)]
    index.add([words_item("long", long), *near, *far])
    found = {hit.item.source for hit in index.search("whale", k=6)}
    assert found == {"long", *(item.source for item in near)}


@pytest.mark.parametrize(
    ("where", "count"),
    [("even = 1", 250), ("number < 3", 3), ("number = 499", 1), ("number > 1000", 0)],
)
def test_filters_never_come_back_short(index: Index, where: str, count: int) -> None:
    index.add(some_items(500))
    hits = index.search("word1", k=300, where=where)
    assert len(hits) == count
    expected = dict(brute_force(index, word_vector("word1")))
    assert all(abs(expected[h.item.source] - h.signals["cosine"]) < 1e-6 for h in hits)


def test_a_query_that_is_too_long_is_told(index: Index, caplog: pytest.LogCaptureFixture) -> None:
    index.add([words_item("a", "red")])
    index.search("red " * 10)
    assert not caplog.records
    index.search("red whale " * 30)
    assert re.search(r"the query is long: it is embedded in \d passages .* their mean", caplog.text)


def test_templates_are_averaged(media_index: Index) -> None:
    templates = ["{}", "{} blue", "high {}"]
    hits = media_index.search("red", target="image", templates=templates)
    said = [word_vector("red"), word_vector("red") + word_vector("blue")]
    said.append(word_vector("high") + word_vector("red"))
    mean = np.sum([vector / np.linalg.norm(vector) for vector in said], axis=0)
    mean /= np.linalg.norm(mean)
    expected = {colour: float(word_vector(colour) @ mean) for colour in COLOURS}
    found = {hit.item.path.stem.removeprefix("p-"): hit.signals["cosine"] for hit in hits}
    assert found == pytest.approx(expected, abs=2e-3)
    (many,) = media_index.search_many(["red"], target="image", templates=templates)
    assert [hit.item for hit in many] == [hit.item for hit in hits]
    assert [hit.score for hit in many] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    with pytest.raises(UsageError, match="template 'a photo': needs {} where the words go"):
        media_index.search("red", templates=["a photo"])


def test_a_given_vector_finds_what_the_text_of_that_embedding_finds(index: Index) -> None:
    index.add(some_items(200))
    vectors = np.stack([word_vector(word) for word in WORDS[:6]])
    for word, vector in zip(WORDS, vectors, strict=False):
        expected = by_meaning(index, word, where="even = 1")
        for given in (vector, 5 * vector, vector.astype(float).tolist()):
            hits = index.search(vector=given, target="text", where="even = 1")
            assert same(cosines(hits), expected)
    many = index.search_many(vectors=vectors, k=7)
    assert many == [index.search(vector=vector, k=7) for vector in vectors]
    assert index.search_many(vectors=vectors[:0]) == []


def test_a_given_vector_joins_other_modalities(media_index: Index, tmp_path: Path) -> None:
    picture = tmp_path / "m/p-red.png"
    spoken = media_index.search(vector=word_vector("low"), image=picture, target="text")
    files = media_index.search(audio=tmp_path / "m/s-low.wav", image=picture, target="text")
    assert same(cosines(spoken), cosines(files))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vector": np.ones(5)}, "a vector of 'fake' is 32 numbers, not 5"),
        ({"vector": np.ones((2, 32))}, "32 numbers, not 2x32"),
        ({"vector": 1.0}, "32 numbers, not one"),
        ({"vector": ["a"] * 32}, "32 numbers: could not convert"),
        ({"vector": np.full(32, np.nan)}, "finite"),
        ({"vector": np.zeros(32)}, "not all zeros"),
        ({"vector": np.ones(32), "space": "other"}, "no space 'other', but fake"),
        ({"text": "red", "space": "fake"}, "space is that of a vector; give one"),
    ],
)
def test_a_wrong_vector_says_what_is_wrong(
    media_index: Index, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        media_index.search(**options)
    assert "\n" not in str(raised.value)


def test_a_batch_is_of_texts_or_of_vectors(media_index: Index) -> None:
    both: dict[str, Any] = {"queries": ["red"], "vectors": np.ones((1, 32))}
    for wrong in ({}, both):
        with pytest.raises(UsageError, match="queries or vectors"):
            media_index.search_many(**wrong)
    with pytest.raises(UsageError, match="32 numbers, not 31"):
        media_index.search_many(vectors=np.ones((3, 31)))


def test_k_larger_than_the_index_gives_everything(index: Index) -> None:
    index.add(some_items(30))
    assert len(index.search("word1", k=10**9)) == 30


def test_search_many_equals_search_one_by_one_also_for_long_texts(index: Index) -> None:
    index.add(some_items(200))
    texts = ["word1", "word2 word3", " ".join(WORDS), "nowhere"]
    many = index.search_many(texts, k=7)
    one_by_one = [index.search(words, k=7) for words in texts]
    assert [[h.item.source for h in hits] for hits in many] == [
        [h.item.source for h in hits] for hits in one_by_one
    ]
    for left, right in zip(itertools.chain(*many), itertools.chain(*one_by_one), strict=True):
        assert left.score == pytest.approx(right.score, abs=1e-4)


@pytest.mark.parametrize(
    ("query", "named"),
    [("zanzibar", "zanzibar-2.png"), ("海滩", "照片海滩.png")],
)
def test_words_in_a_name_raise_an_item(
    index: Index, tmp_path: Path, query: str, named: str
) -> None:
    names = [*(f"a{n}.png" for n in range(20)), named]
    for name in names:
        picture(tmp_path / "n" / name, "red")
    index.add(tmp_path / "n")
    first = index.search(query, target="image")[0]
    assert first.item.path.name == named
    assert first.signals["lexical"] > 0


def test_words_of_a_caption_raise_its_picture_and_name_the_part_asked_for(
    index: Index, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png", "red")
    picture(tmp_path / "b.png", "red")
    rows = '{"image": "a.png", "text": "苹果 apple"}\n{"image": "b.png", "text": "香蕉 banana"}'
    index.add(text(tmp_path / "l.jsonl", rows))
    for words, name in (("banana", "b.png"), ("香蕉", "b.png"), ("apple", "a.png")):
        first = index.search(words, target="image")[0]
        assert (first.item.path.name, first.part.modality) == (name, Modality.IMAGE)


def test_words_of_removed_items_do_not_crowd_out_those_that_are_left(index: Index) -> None:
    index.add([words_item(f"gone{n}", "rare") for n in range(300)])
    index.add([words_item("left", f"rare {' '.join(WORDS[:8])}")])
    index.remove([f"gone{n}" for n in range(300)])
    hits = index.search("rare")
    assert [hit.item.source for hit in hits] == ["left"]
    assert hits[0].signals["lexical"] > 0


def test_answers_survive_deletion_compaction_and_reopening(
    make_index: Callable[..., Index], tmp_path: Path
) -> None:
    index = make_index()
    items = some_items(300)
    for start in range(0, 300, 30):
        index.add(items[start : start + 30])
    index.remove([f"i{n}" for n in range(0, 300, 3)])
    expected = brute_force(index, word_vector("word4"))[:15]
    assert not any(int(source[1:]) % 3 == 0 for source, _ in expected)
    before = index.search("word4", k=15)
    assert same(by_meaning(index, "word4", k=15), expected)
    index.compact()
    assert index.search("word4", k=15) == before
    info = index.info()
    assert [field.segments for field in info.fields] == [1]
    assert [(field.vectors, field.dead) for field in info.fields] == [(200, 0)]
    index.close()
    with mmsearch.open(tmp_path / "index", model=fake_model()) as again:
        assert again.search("word4", k=15) == before


def test_search_is_thread_safe_while_another_thread_adds_and_compacts(index: Index) -> None:
    index.add(some_items(100))
    expected = [f"i{n}" for n in range(100)]
    failures: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.is_set():
                sources = {h.item.source for h in index.search("word1 word2", k=10**6)}
                assert sources.issuperset(expected)
                index.search("word3", where="even = 1", k=3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(3):
        index.add([words_item(f"extra{turn}-{n}", WORDS[n]) for n in range(20)])
        index.remove(f"extra{turn - 1}-0") if turn else None
        index.compact()
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []


RECIPES = ["IVF8,PQ8", "PCA16,IVF8,PQ8", "OPQ8,IVF8,PQ8x4", "IVF8,RaBitQ"]


@pytest.fixture(scope="module", params=RECIPES)
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("quantised") / "index"
    index = mmsearch.create(folder, model=fake_model(), recipe=request.param)
    index.add(some_items(300))
    index.add(some_items(400)[300:])
    request.addfinalizer(index.close)
    return index


@pytest.fixture
def few_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the quantised index choose the candidates although the field is small."""
    monkeypatch.setattr(dense, "EXACT_CANDIDATES", 0)


@pytest.mark.usefixtures("few_exact")
def test_a_quantised_search_returns_exact_scores(quantised: Index) -> None:
    assert quantised.info().fields[0].recipe == quantised.info().asked_recipe
    for word in WORDS[:5]:
        expected = dict(brute_force(quantised, word_vector(word)))
        found = by_meaning(quantised, word, k=10)
        assert len(found) == 10
        assert all(abs(expected[source] - score) < 1e-6 for source, score in found)


@pytest.mark.usefixtures("few_exact")
def test_a_quantised_search_in_all_lists_equals_brute_force(
    quantised: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "_LEAST_WITHIN", 8)
    monkeypatch.setattr("mmsearch.search.effort.FIRST_DEPTH", 399)
    for word in WORDS[:5]:
        found = by_meaning(quantised, word, k=10)
        assert same(found, brute_force(quantised, word_vector(word))[:10])


@pytest.mark.usefixtures("few_exact")
def test_a_quantised_search_with_a_filter_never_comes_back_short(
    quantised: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "_LEAST_WITHIN", 1)
    for where, count in (("even = 1", 200), ("number < 30", 30), ("number < 0", 0)):
        found = by_meaning(quantised, "word1", k=1000, where=where)
        assert len(found) == count


@pytest.mark.usefixtures("few_exact")
def test_queries_of_another_or_an_unknown_modality_look_into_more_lists(
    quantised: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    lists_to_probe = effort.lists_to_probe

    def spy(nlist: int, *, across: bool) -> int:
        asked.append(across)
        return lists_to_probe(nlist, across=across)

    monkeypatch.setattr(effort, "lists_to_probe", spy)
    monkeypatch.setattr("mmsearch.search.effort.FIRST_DEPTH", 100)
    quantised.search("word1", target="text")
    quantised.search(image=picture(tmp_path / "red.png", "red"), target="text")
    quantised.search(vector=word_vector("word1"), target="text")
    assert asked == [False, True, True]
    assert lists_to_probe(4096, across=True) > lists_to_probe(4096, across=False)


@pytest.mark.usefixtures("few_exact")
def test_a_quantised_search_never_returns_deleted_items(index: Index, tmp_path: Path) -> None:
    with mmsearch.create(tmp_path / "q", model=fake_model(), recipe="IVF4,PQ8") as quantised:
        quantised.add(some_items(400))
        quantised.remove([f"i{n}" for n in range(0, 400, 2)])
        assert quantised.info().fields[0].recipe == "IVF4,PQ8"
        found = by_meaning(quantised, "word1", k=150)
        assert len(found) == 150
        assert all(int(source[1:]) % 2 for source, _ in found)


def test_a_catalog_of_a_later_commit_is_refused(index: Index) -> None:
    index.add(some_items(3))
    path = index.path / "catalog.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE state SET stamp = stamp + 2")
    connection.commit()
    connection.close()
    path.with_name("catalog.sqlite.seal").unlink()
    with pytest.raises(DamagedIndexError, match="repair"):
        index.search("word1")


def test_what_many_threads_need_is_computed_once() -> None:
    computed: list[int] = []
    together = threading.Barrier(4, timeout=10)

    class Costly:
        @computed_once
        def value(self) -> int:
            time.sleep(0.05)
            computed.append(1)
            return len(computed)

    costly, values = Costly(), []

    def ask() -> None:
        together.wait()
        values.append(costly.value)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [1, 1, 1, 1]


class GappedEncoder(FakeEncoder):
    """Grey pictures are words, too, but all of them lie far from all texts (the modality gap)."""

    def prepare(self, decoded: Any) -> list[str]:
        return super().prepare(decoded) if isinstance(decoded, str) else [grey_word(decoded)]

    def encode(self, prepared: Sequence[list[str]]) -> FloatArray:
        rows = super().encode(prepared)
        if self.modality is Modality.IMAGE:
            rows += 3 * word_vector("gap")
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


def grey_word(picture: Any) -> str:
    return f"w{np.asarray(picture)[0, 0, 0]}"


def test_the_gap_between_modalities_does_not_order_a_list(tmp_path: Path) -> None:
    texts = [json.dumps({"text": f"w{number}"}) for number in range(200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(texts))
    (tmp_path / "pictures").mkdir()
    for grey in range(40):
        Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / f"pictures/{grey}.png")
    model = Model("gapped", tuple(GappedEncoder(m) for m in (Modality.TEXT, Modality.IMAGE)))
    with mmsearch.create(tmp_path / "index", model=model) as index:
        index.add([tmp_path / "rows.jsonl", tmp_path / "pictures"])
        for grey in range(40):
            hits = index.search(f"w{grey}", k=3)
            cosines = [hit.signals["cosine"] for hit in hits[:2]]
            assert {hit.part.modality for hit in hits[:2]} == {Modality.TEXT, Modality.IMAGE}
            assert hits[0].part.text == f"w{grey}" or hits[1].part.text == f"w{grey}"
            assert f"{grey}.png" in {hit.item.name for hit in hits[:2]}
            assert max(cosines) - min(cosines) > 0.3  # by cosine, other texts would come before
