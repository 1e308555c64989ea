"""Words and BM25: the catalog's ranking against a model in plain Python."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.store import lexical
from mmsearch.store.catalog import Catalog, CatalogItem
from mmsearch.store.catalog_writer import CatalogWriter
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.tokens import MAX_WORD_CHARS, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two dogs, running!", ["two", "dogs", "running"]),
        ("Ärger über Café ΆΛΦΑ Ёж", ["arger", "uber", "cafe", "αλφα", "еж"]),
        ("Straße ﬁsh ＡＢＣ", ["strasse", "fish", "abc"]),
        ("IMG_2019-beachDay.jpg", ["img", "2019", "beachday", "beach", "day", "jpg"]),
        ("HTMLParser2", ["htmlparser2", "html", "parser", "2"]),
        ("track07", ["track07", "track", "07"]),
        ("沙滩上", ["沙", "滩", "上", "沙滩", "滩上"]),
        ("狗", ["狗"]),
        ("iPhone在東京", ["iphone", "i", "phone", "在", "東", "京", "在東", "東京"]),
        ("がくﾃﾞｰﾀ", ["が", "く", "デ", "ー", "タ", "がく", "くデ", "デー", "ータ"]),
        ("한국어", ["한", "국", "어", "한국", "국어"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("x" * 200, ["x" * MAX_WORD_CHARS]),
        ("a\0b\ud800c\N{DOG FACE}", ["a", "b", "c"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_beside_other_letters(text: str) -> None:
    assert [*words(text), "e"] == words(f"{text} \u00e9")


@given(st.text())
def test_words_fold_the_same_twice(text: str) -> None:
    for word in words(text):
        assert " " not in word and 0 < len(word) <= 3 * MAX_WORD_CHARS


class Corpus:
    """A writer and a reader on one file, filled with one passage an item."""

    def __init__(self, path: Path) -> None:
        self.writer = CatalogWriter(path)
        self.reader = Catalog(path)

    def load(self, texts: list[str]) -> None:
        items = (CatalogItem(i, {}, [(i << CHUNK_BITS, text)]) for i, text in enumerate(texts, 1))
        self.writer.rebuild(items, 1)

    def search(self, query: str, limit: int = 100) -> list[tuple[int, float]]:
        found = self.reader.lexical(query, limit)
        return [(chunk_id >> CHUNK_BITS, score) for chunk_id, score in found]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    corpus = Corpus(tmp_path_factory.mktemp("lexical") / "catalog.sqlite")
    yield corpus
    corpus.reader.close()
    corpus.writer.close()


def test_passages_outside_of_the_commit_do_not_use_up_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a commit that was killed, or is being made, are passed over before the bound."""
    monkeypatch.setattr(lexical, "MAX_SCORED", 10)
    corpus = Corpus(tmp_path / "catalog.sqlite")
    corpus.load(["a dog"] * 60)
    found = corpus.reader.lexical("dog", 100, range(30 << CHUNK_BITS, 35 << CHUNK_BITS))
    assert [chunk_id >> CHUNK_BITS for chunk_id, _ in found] == [30, 31, 32, 33, 34]
    corpus.reader.close()
    corpus.writer.close()


TEXTS = [
    "Two dogs running on the beach",
    "IMG_2019_beachDay.jpg",
    "一只狗在沙滩上奔跑",
    "Ein Mädchen am Strand",
    'quotes "here" AND NEAR(there, 2) OR col : ^x -y z*',
    "the cat on the mat",
]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("dog", 1),
        ("DOGS", 1),
        ("run", 1),
        ("day", 2),
        ("beachday", 2),
        ("狗", 3),
        ("沙滩", 3),
        ("狗在沙滩", 3),
        ("madchen", 4),
        ("near", 5),
        ("cats and mats", 6),
    ],
)
def test_finds(corpus: Corpus, query: str, best: int) -> None:
    corpus.load(TEXTS)
    found = corpus.search(query)
    assert found[0][0] == best
    assert all(0 < score < 1 for _, score in found)


@pytest.mark.parametrize(
    "query", ["", "   ", "zebra", '"', "***", "😀", "\0", "\ud800", "- ^ : ( )", "的"]
)
def test_finds_nothing(corpus: Corpus, query: str) -> None:
    corpus.load(TEXTS)
    assert corpus.search(query) == []


@pytest.mark.parametrize(
    "query",
    [
        "dog AND cat",
        "NOT dog",
        "dog*",
        "words:dog",
        "-dog",
        "^dog",
        '"dog',
        "NEAR(dog cat)",
        "{dog}",
    ],
)
def test_operators_are_words(corpus: Corpus, query: str) -> None:
    corpus.load(TEXTS)
    assert 1 in dict(corpus.search(query))


def test_limit_and_order(corpus: Corpus) -> None:
    corpus.load(["zor bek"] * 3 + ["zor"] * 2 + ["mip"] * 9)
    assert [i for i, _ in corpus.search("zor", 4)] == [4, 5, 1, 2]
    assert corpus.search("zor", 0) == []


def test_a_partial_match_on_a_common_word_scores_low(corpus: Corpus) -> None:
    corpus.load(["zor"] * 40 + ["bek"] + ["mip"] * 60)
    scores = dict(corpus.search("zor bek"))
    assert scores[41] > 0.4 > 0.1 > scores[1]


def test_only_weightless_words(corpus: Corpus) -> None:
    corpus.load(["zor", "zor bek"])
    assert len(corpus.search("zor")) == 2


def test_removed_texts_are_forgotten(corpus: Corpus) -> None:
    corpus.load(["zor bek", "zor mip", "gan", "gan", "gan"])
    corpus.writer.write([], [1], 2)
    assert corpus.search("bek") == []
    kept = corpus.search("zor")
    corpus.writer.rebuild(
        [
            CatalogItem(i, {}, [(i << CHUNK_BITS, text)])
            for i, text in [(2, "zor mip"), (3, "gan"), (4, "gan"), (5, "gan")]
        ],
        3,
    )
    assert corpus.search("zor") == kept


def test_a_very_long_query(corpus: Corpus) -> None:
    corpus.load(TEXTS)
    assert corpus.search("dog " + " ".join(f"w{i}" for i in range(20_000)))[0][0] == 1


# ---------------------------------------------------------------------- the model in plain Python

K1, B = 1.2, 0.75
WORDS = ["zor", "bek", "mip", "tuf", "gan", "lod"]  # Porter's stemmer leaves them alone
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=25)


def idf(term: str, documents: list[list[str]]) -> float:
    n = sum(term in document for document in documents)
    return max(1e-6, math.log((len(documents) - n + 0.5) / (n + 0.5)))


def bm25(document: list[str], terms: set[str], documents: list[list[str]]) -> float:
    mean = sum(map(len, documents)) / len(documents)
    counts = Counter(document)
    return sum(
        idf(term, documents)
        * (counts[term] * (K1 + 1))
        / (counts[term] + K1 * (1 - B + B * len(document) / mean))
        for term in terms & set(counts)
    )


def model(query: set[str], documents: list[list[str]], max_scored: int) -> dict[int, float]:
    """Scores of all passages that hold a leading term, and which terms lead."""
    spread = {term: sum(term in document for document in documents) for term in query}
    present = [term for term in query if spread[term]]
    counting = {t for t in present if idf(t, documents) > 1e-6} or set(present)
    ordered = sorted(counting, key=lambda term: (spread[term], term))
    leading = [
        term
        for i, term in enumerate(ordered)
        if i == 0 or sum(spread[t] for t in ordered[: i + 1]) <= max_scored
    ]
    bound = (K1 + 1) * sum(idf(term, documents) for term in query)
    return {
        i: bm25(document, counting, documents) / bound
        for i, document in enumerate(documents, 1)
        if set(leading) & set(document)
    }


@settings(max_examples=30, deadline=None)
@given(texts, st.lists(st.sets(st.sampled_from([*WORDS, "absent"]), min_size=1), min_size=5))
def test_ranking_against_the_model(
    corpus: Corpus, documents: list[list[str]], queries: list[set[str]]
) -> None:
    corpus.load([" ".join(document) for document in documents])
    for query in queries:
        found = corpus.search(" ".join(sorted(query)))
        expected = model(query, documents, lexical.MAX_SCORED)
        assert dict(found) == pytest.approx(expected, abs=1e-6)
        assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))


def test_bounded_work_keeps_scores_and_order(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With terms too common to lead, passages with a rarer one are still ranked by all terms."""
    documents = [["tuf"] * (1 + i % 3) + [WORDS[i % 3]] * (i % 4) for i in range(40)]
    documents += [["gan"]] * 60
    corpus.load([" ".join(document) for document in documents])
    monkeypatch.setattr(lexical, "MAX_SCORED", 12)
    query = {"zor", "tuf", "bek"}
    expected = model(query, documents, 12)
    assert 0 < len(expected) < 30
    found = corpus.search(" ".join(query))
    assert dict(found) == pytest.approx(expected, abs=1e-6)
    best = sorted(expected.items(), key=lambda pair: (-round(pair[1], 9), pair[0]))
    assert [i for i, _ in corpus.search(" ".join(query), 5)] == [i for i, _ in best[:5]]
    assert len(corpus.search("tuf")) == 12
