"""Signals become scores and probabilities; what is said of a picture counts for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import DIM, word_vector
from media import picture
from test_two_spaces import two_space_model

import mmsearch
from mmsearch import Chunk, Hit, Index, Item, Modality, Part, UsageError
from mmsearch.fuse import SCORERS, Signals, convex, lexical_strength, relevance, scores
from mmsearch.records import FloatArray
from mmsearch.search.evidence import line

Make = Callable[..., Index]
IMAGE, TEXT = Modality.IMAGE, Modality.TEXT


def signals(evidence: list[float], lexical: list[float]) -> Signals:
    """Of items of one part each."""
    own = np.array(evidence, np.float32)
    return Signals(own, own, np.array(lexical, np.float32), np.ones(len(own), bool))


def score(name: str, some: Signals) -> FloatArray:
    return scores(SCORERS[name](some))


def likely(some: Signals, gallery: int) -> FloatArray:
    return relevance(scores(convex(some)), lexical_strength(some), gallery)


def test_evidence_alone_is_none() -> None:
    some = signals([1, 3, 2], [0, 0, 1])
    assert score("none", some).tolist() == [1, 3, 2]


def test_convex_counts_the_best_match_of_words_whole() -> None:
    some = signals([1, 3, 2, 1], [0.2, 0, 0.4, 0.4])
    np.testing.assert_allclose(score("convex", some), np.array([1 + 1, 3, 2 + 2, 1 + 2]) - 1)
    doubled = signals([1, 3, 2, 1], [0.4, 0, 0.8, 0.8])
    np.testing.assert_allclose(score("convex", doubled), score("convex", some))


def test_words_that_are_hardly_found_hardly_count() -> None:
    some = signals([1, 3, 2], [0, 0, 0.02])
    expected = np.array([1, 3, 2 + 2 * 0.2**2]) - 0.2**2
    np.testing.assert_allclose(score("convex", some), expected, rtol=1e-6)
    nothing = signals([1, 3, 2], [0, 0, 0])
    assert score("convex", nothing).tolist() == [1, 3, 2]


def test_words_count_more_where_no_vector_says_the_same_and_do_not_lack_there() -> None:
    some = signals([1, 1, 1, 1], [0.5, 0, 0, 0.25])
    mixed = replace(some, worded=np.array([True, True, False, False]))
    assert score("convex", mixed).tolist() == [1 + 2 - 1, 1 - 1, 1, 1 + 3]
    np.testing.assert_array_equal(score("rrf", mixed), score("rrf", some))
    common = replace(mixed, unfound=0.5)  # more texts hold the words than were looked for
    assert score("convex", common).tolist() == [1 + 2 - 1, 1 + 2 - 1, 1, 1 + 3]
    partly = replace(common, whole=False)  # a picture asks, too
    assert score("convex", partly).tolist() == [1 + 2, 1, 1, 1 + 3]


def test_rrf_sums_reciprocal_ranks() -> None:
    some = signals([1, 3, 2, 2], [0.5, 0, 0.1, 0])
    expected = [1 / 64 + 1 / 61, 1 / 61, 1 / 62 + 1 / 62, 1 / 62]
    np.testing.assert_allclose(score("rrf", some), expected, rtol=1e-6)


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_take_nothing(name: str) -> None:
    assert len(score(name, signals([], []))) == len(likely(signals([], []), 0)) == 0


def test_other_parts_have_their_share() -> None:
    own, all_parts = np.array([1, 2], np.float32), np.array([1, 4], np.float32)
    for name in ("none", "convex"):
        shares = SCORERS[name](
            Signals(own, all_parts, np.array([0, 0.5], np.float32), np.ones(2, bool))
        )
        assert shares["vector"].tolist() == [1, 2]
        assert shares["other parts"].tolist() == [0, 2]


def test_relevance_is_a_logistic_of_the_score() -> None:
    found = likely(signals([-2, 0, 4, 9], [0, 0, 0, 0]), 100)
    log_odds = -0.5 + 0.8 * (np.array([-2, 0, 4, 9]) - np.log(100))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-log_odds)), rtol=1e-5)
    spoken = likely(signals([3, 4], [0.3, 0]), 100)
    log_odds = -1.9 + 0.65 * (np.array([3 + 2 - 1, 4 - 1]) - np.log(100))
    np.testing.assert_allclose(spoken, 1 / (1 + np.exp(-log_odds)), rtol=1e-5)
    assert spoken[0] > spoken[1] < found[2]  # words are found, and not here


def test_relevance_falls_with_the_gallery_up_to_a_point() -> None:
    some = signals([6.0], [0.0])
    found = [float(likely(some, n)[0]) for n in (1, 10, 1_000, 1_000_000)]
    assert found[0] > found[1] > found[2] == found[3]


def test_evidence_of_any_kind_rises_with_the_standing() -> None:
    standings = np.array([0, 1, 5], np.float32)
    for asked in ((), (TEXT,), (IMAGE,), (Modality.AUDIO,), (TEXT, IMAGE)):
        for searched in Modality:
            assert np.all(np.diff(line(asked, searched).evidence(standings)) > 0)
    assert line((TEXT,), TEXT) == line((IMAGE,), IMAGE) != line((TEXT,), IMAGE)


@pytest.fixture
def captioned(index: Index, tmp_path: Path) -> Index:
    """Red pictures with and without captions, and captions without pictures."""
    red = str(picture(tmp_path / "red.png", "red"))
    items = [
        Item(f"p{n}", (Part("photo", IMAGE, path=red), Part("caption", TEXT, text=f"boat{n} sea")))
        for n in range(8)
    ]
    items += [Item(f"u{n}", (Part("photo", IMAGE, path=red),)) for n in range(4)]
    items += [Item(f"t{n}", (Part("text", TEXT, text=f"boat{n} harbour"),)) for n in range(8)]
    index.add(items)
    return index


def test_a_caption_speaks_for_its_picture(captioned: Index) -> None:
    first = captioned.search("boat5 sea", target="image", k=3)[0]
    assert (first.item.source, first.part.role, first.chunk.end) == ("p5", "photo", None)
    assert first.signals["cosine"] == pytest.approx(
        float(word_vector("red") @ sum_of("boat5", "sea")), abs=1e-3
    )
    plain = captioned.search("boat5 sea", target="image", k=12, rerank="none")
    assert len({hit.item.source for hit in plain}) == 12
    assert len({hit.score for hit in plain}) == 1


def sum_of(*words: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    total = np.sum([word_vector(word, DIM) for word in words], axis=0)
    return np.asarray(total / np.linalg.norm(total), np.float32)


def test_captions_without_a_picture_are_no_pictures(captioned: Index) -> None:
    hits = captioned.search("boat3 harbour", target="image", k=100)
    assert {hit.part.modality for hit in hits} == {IMAGE}
    assert len(hits) == 12
    assert captioned.search("boat3 harbour", k=1)[0].item.source == "t3"


def test_a_filter_holds_for_captions_too(captioned: Index) -> None:
    hits = captioned.search("boat5 sea", target="image", k=100, where="path LIKE '%red.png'")
    assert hits == captioned.search("boat5 sea", target="image", k=100)
    captioned.remove("p5")
    assert "p5" not in [h.item.source for h in captioned.search("boat5 sea", target="image", k=50)]


def test_what_is_not_relevant_enough_is_left_out(captioned: Index) -> None:
    every = captioned.search("boat5 sea", k=100)
    likely = [hit.relevance or 0 for hit in every]
    assert likely == sorted(likely, reverse=True)
    assert all(0 < one < 1 for one in likely)
    middle = (likely[0] + likely[1]) / 2
    assert captioned.search("boat5 sea", k=100, min_relevance=middle) == every[:1]
    assert captioned.search("nothing alike", min_relevance=0.999) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rerank": "magic"}, "rerank is 'magic'; choose one of convex, rrf, none"),
        ({"min_relevance": 1.5}, "min_relevance is 1.5; it is between 0 and 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    captioned: Index, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        captioned.search("boat", **options)  # type: ignore[arg-type]


def test_queries_of_a_batch_are_scored_alike(captioned: Index) -> None:
    asked = ["boat1 sea", "boat2 harbour", "sea"]
    for rerank in SCORERS:
        many = captioned.search_many(asked, target="image", rerank=rerank)
        assert many == [captioned.search(text, target="image", rerank=rerank) for text in asked]


def test_shares_add_up_to_the_score(captioned: Index) -> None:
    for rerank in SCORERS:
        for hit in captioned.search("boat5 sea", target="image", k=5, rerank=rerank):
            assert sum(hit.shares.values()) == pytest.approx(hit.score, abs=1e-5)
    hit = captioned.search("boat5 sea", target="image", k=1)[0]
    assert set(hit.shares) == {"vector", "other parts", "words"}
    lines = hit.explain()
    assert lines[0].startswith(f"score {hit.score:.3f} = vector ")
    assert "deviations above the index's images" in lines[1]
    assert lines[2] == f"words: {hit.signals['lexical']:.1%} of what BM25 could be"
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("modality", "chunk", "text", "lines"),
    [
        (TEXT, Chunk(5, 9), "at\n sea", ["best passage (characters 5 to 9): at sea"]),
        (TEXT, Chunk(), "sea " * 99, ["best passage: " + "sea " * 50 + "…"]),
        (Modality.AUDIO, Chunk(12.04, 22.0), None, ["best in its sound: 12.0 to 22.0 s"]),
        (IMAGE, Chunk(3.0, 4.5), None, ["best in its video: 3.0 to 4.5 s"]),
        (IMAGE, Chunk(), None, []),
    ],
)
def test_an_explanation_names_the_passage_and_the_seconds(
    modality: Modality, chunk: Chunk, text: str | None, lines: list[str]
) -> None:
    part = Part("file", modality, path="/m/a")
    hit = Hit(1, 0.5, None, Item("/m/a", (part,)), part, chunk, text, {})
    assert hit.explain() == lines


def test_words_are_looked_for_among_what_can_be_found(index: Index, tmp_path: Path) -> None:
    red = str(picture(tmp_path / "red.png", "red"))
    photo, said = Part("photo", IMAGE, path=red), Part("text", TEXT, text="a lighthouse")
    index.add([Item(f"t{n}", (said,)) for n in range(300)])
    index.add([Item("p", (photo, Part("caption", TEXT, text="a lighthouse at sea")))])
    (hit,) = index.search("lighthouse", target="image")
    assert hit.signals["lexical"] > 0


@pytest.mark.parametrize("rerank", SCORERS)
def test_relevant_hits_are_not_cut_off_by_others(captioned: Index, rerank: str) -> None:
    every = captioned.search("boat5 sea", k=100, rerank=rerank)
    least = sorted((hit.relevance or 0 for hit in every), reverse=True)[4]
    found = captioned.search("boat5 sea", k=5, rerank=rerank, min_relevance=least)
    assert len(found) == 5
    assert [h.item.id for h in found] == [h.item.id for h in every if (h.relevance or 0) >= least][
        :5
    ]


def test_a_caption_counts_once_however_many_spaces_it_has_a_vector_in(tmp_path: Path) -> None:
    one = Item("t", (Part("text", TEXT, text="dog barks"),))
    others = [Item(f"o{n}", (Part("text", TEXT, text=f"w{n} w{n + 1}"),)) for n in range(40)]
    with mmsearch.create(tmp_path / "index", model=two_space_model()) as index:
        index.add([one, *others])
        assert len(index.info().fields) == 2
        hit = index.search("dog", k=1, rerank="none")[0]
        assert hit.score == pytest.approx(hit.shares["vector"])
