"""Composed queries: several things together, some of them not wanted, each with a weight."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import word_vector
from media import picture

from mmsearch import Index, Item, Modality, Part, Query, UsageError
from mmsearch.cli.query import _asked
from mmsearch.engine.embedding import embed

Make = Callable[..., Index]
TEXT = Modality.TEXT


def texts_of(index: Index, texts: Sequence[str]) -> Index:
    index.add([Item(f"i{n}", (Part("text", TEXT, text=text),)) for n, text in enumerate(texts)])
    return index


@pytest.fixture
def animals(index: Index) -> Index:
    pairs = ["cat dog", "cat sun", "dog sun", "cat", "dog", "sun", "dog dog cat", "moon", "star"]
    return texts_of(index, pairs)


def found(index: Index, *args: Any, **options: Any) -> list[str]:
    return [hit.text or "" for hit in index.search(*args, **options)]


def test_what_is_excluded_comes_last(animals: Index) -> None:
    plain = found(animals, "cat", k=9)
    without = found(animals, "cat", exclude={"dog": 1}, k=9)
    assert set(plain[:4]) == {"cat", "cat dog", "cat sun", "dog dog cat"}
    assert without[:2] == ["cat", "cat sun"]
    assert set(without[-3:]) <= {"dog", "dog sun", "dog dog cat", "cat dog"}
    assert found(animals, "cat", exclude=["dog", "sun"], k=1) == ["cat"]


def test_words_that_are_not_wanted_speak_against_a_text(animals: Index) -> None:
    hits = {h.text: h for h in animals.search("cat", exclude="dog", k=9)}
    assert hits["dog"].signals["lexical"] < 0 < hits["cat"].signals["lexical"]
    assert hits["cat dog"].signals["lexical"] < hits["cat"].signals["lexical"]


def test_an_exclusion_counts_as_much_as_it_is_given(animals: Index) -> None:
    order = {
        weight: found(animals, "cat", exclude={"dog": weight}, k=9).index("cat dog")
        for weight in (0.01, 1, 10)
    }
    assert order[0.01] <= order[1] <= order[10]
    assert order[0.01] < order[10]


def test_several_pictures_are_one_query(index: Index, tmp_path: Path) -> None:
    files = {colour: picture(tmp_path / f"{colour}.png", colour) for colour in ("red", "blue")}
    texts_of(index, ["red", "green", "blue", "red blue"])
    assert found(index, image=files["red"], k=1) == ["red"]
    assert found(index, image=[*files.values()], k=1) == ["red blue"]
    assert found(index, image=[files["red"]], k=4) == found(index, image=files["red"], k=4)


def test_a_weight_turns_a_query_towards_its_part(index: Index, tmp_path: Path) -> None:
    red = picture(tmp_path / "red.png", "red")
    texts_of(index, ["red", "dog", "red dog", "sun"])
    assert found(index, "dog", image=red, k=1) == ["red dog"]
    assert found(index, "dog", image=red, weights={"text": 50}, k=1) == ["dog"]
    assert found(index, "dog", image=red, weights={"image": 50}, rerank="none", k=1) == ["red"]


def test_terms_count_by_how_far_they_tell_vectors_apart(make_index: Make) -> None:
    """The order of a composed query is that of the summed standings of its terms."""
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    texts = [" ".join(rng.choice(words, 3)) for _ in range(200)]
    index = texts_of(make_index(), texts)
    first, second = word_vector("w0"), word_vector("w5")
    asked = Query("w0", exclude={"w5": 1.0})
    with index._reader.view() as view:
        (field,) = view.state.fields.values()
        matrix = field.matrix
    levels = []
    for query in (first, second):
        cosines = matrix @ query
        spread = np.sqrt((200 * cosines.var() + 30 * 0.1**2) / 230)
        levels.append((cosines - np.median(cosines)) / spread)
    best = field.owners[np.argsort(-(levels[0] - levels[1]), kind="stable")[:5]]
    hits = index.search_many([asked], rerank="none", k=5)[0]
    assert [hit.item.id for hit in hits] == best.tolist()


def test_composed_queries_of_a_batch_are_answered_alike(animals: Index) -> None:
    asked = [Query("cat", exclude="dog"), Query("cat"), Query("sun", exclude={"dog": 2})]
    options = [{"exclude": "dog"}, {}, {"exclude": {"dog": 2}}]
    many = animals.search_many(asked, k=9)
    assert many == [
        animals.search(query.text, k=9, **option)  # type: ignore[arg-type]
        for query, option in zip(asked, options, strict=True)
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"text": "cat", "exclude": " "}, "a text to exclude is empty"),
        ({"text": "cat", "exclude": {"dog": -1}}, "weight -1: give a number above 0"),
        ({"text": "cat", "weights": {"text": float("nan")}}, "weight nan"),
        ({"text": "cat", "weights": {"image": 2}}, "weight of image: the query has no image"),
        ({"exclude": "dog"}, "an empty query"),
        ({"text": "cat", "image": []}, "image is an empty list"),
    ],
)
def test_what_makes_no_sense_is_refused(
    animals: Index, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        animals.search(**options)


def test_a_query_points_where_its_terms_do(animals: Index) -> None:
    query = Query("cat", exclude={"dog": 0.5})
    expected = word_vector("cat") - 0.5 * word_vector("dog")
    (vector,) = embed(query, animals.model).values()
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("dog:2", {"text": "dog", "weights": {"text": 2.0}}),
        ("dog in snow:0.5", {"text": "dog in snow", "weights": {"text": 0.5}}),
        ("meet at 10:30", {"text": "meet at 10:30"}),
        ("ratio: 2", {"text": "ratio: 2"}),
        ("a:b", {"text": "a:b"}),
        (":2", {"text": ":2"}),
    ],
)
def test_a_weight_stands_behind_a_colon(text: str, asked: dict[str, object]) -> None:
    nothing = {"image": None, "audio": None}
    assert _asked(text, None, None, None) == nothing | asked


def test_the_command_hands_on_what_is_asked() -> None:
    arguments = _asked("cat", ["a.png", "b.png"], [], ["dog", "sun:2"])
    assert json.loads(json.dumps(arguments)) == {
        "text": "cat",
        "image": ["a.png", "b.png"],
        "audio": None,
        "exclude": {"dog": 0.5, "sun": 2.0},
    }
