"""Columns that count beside relevance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import DIM
from test_cli import Run
from test_cli import cli as cli  # a fixture

import mmsearch
from mmsearch import Hit, Index, Item, Modality, Part, UsageError
from mmsearch.cli.options import preferences
from mmsearch.engine import preferring
from mmsearch.engine.preferring import levels, spread_of
from mmsearch.fuse.candidates import DEPTH
from mmsearch.records import ColumnValue

TEXT = Modality.TEXT
RATINGS: dict[str, ColumnValue] = {"a": 3, "b": 1.5, "c": None, "d": 4, "e": 3}


def texts(columns: Mapping[str, Mapping[str, ColumnValue]]) -> list[Item]:
    """Items that are alike but for their columns, by name."""
    part = Part("text", TEXT, text="boat")
    return [Item(name, (part,), columns={"title": "t", **mine}) for name, mine in columns.items()]


def rated(count: int) -> list[Item]:
    """Texts that differ, with a rating that has nothing to do with them."""
    ratings = np.random.default_rng(0).permutation(count)
    return [
        Item(f"i{n}", (Part("text", TEXT, text=f"w{n} boat"),), columns={"rating": int(r)})
        for n, r in enumerate(ratings)
    ]


@pytest.fixture
def few(index: Index) -> Index:
    dates = dict(zip("abcd", ("2024-03-01", "2023-12-31", "2024-02-29", "1999-01-01"), strict=True))
    columns = {
        name: {"rating": rating, "date": dates.get(name), "tags": ("x",)}
        for name, rating in RATINGS.items()
    }
    add_in_order(index, texts(columns))
    return index


def add_in_order(index: Index, items: list[Item]) -> None:
    """Add items so that their ids, by which equal scores are ordered, rise."""
    for item in items:
        index.add([item])


def sources(hits: list[Hit]) -> str:
    return "".join(hit.item.source for hit in hits)


def test_levels_are_mid_ranks() -> None:
    spread = [1, 2, 2, 3, 10]
    found = levels([0, 1, 2, 2.5, 10, 11, None], spread)
    np.testing.assert_allclose(found, [-1, -0.8, -0.2, 0.2, 0.8, 1, 0], atol=1e-6)
    assert levels(["b", None], ["a", "b"]).tolist() == [0.5, 0]
    assert levels([1.0], []).tolist() == [0]


def test_high_values_come_first_and_low_ones_where_they_are_preferred(few: Index) -> None:
    plain = few.search("boat", target="text")
    assert sources(plain) == "abcde"
    assert sources(few.search("boat", prefer={"rating": 1})) == "daceb"
    assert sources(few.search("boat", prefer={"rating": -0.1})) == "baced"
    assert sources(few.search("boat", prefer={"date": 2})) == "acebd"
    both = few.search("boat", prefer={"rating": 1, "date": 1})
    assert sources(both) == "acdeb"
    shares = [{"prefer rating", "prefer date"} & {*hit.shares} for hit in both]
    assert [len(some) for some in shares] == [1, 1, 2, 0, 2]


def test_what_a_column_counts_is_a_share_and_relevance_stays(few: Index) -> None:
    plain = {hit.item.source: hit for hit in few.search("boat")}
    for hit in few.search("boat", prefer={"rating": 2}):
        old = plain[hit.item.source]
        p = {"a": 0.5, "b": 0.125, "c": 0.5, "d": 0.875, "e": 0.5}[hit.item.source]
        assert hit.shares.get("prefer rating", 0) == pytest.approx(2 * (2 * p - 1))
        assert hit.score == pytest.approx(old.score + 2 * (2 * p - 1), abs=1e-5)
        assert hit.relevance == old.relevance
        assert sum(hit.shares.values()) == pytest.approx(hit.score, abs=1e-5)
    assert "+ prefer rating 1.500" in few.search("boat", prefer={"rating": 2})[0].explain()[0]


def test_removed_items_do_not_count(few: Index) -> None:
    few.remove("b")
    first = few.search("boat", prefer={"rating": 1})[0]
    assert first.shares["prefer rating"] == pytest.approx(2 * (2.5 / 3) - 1)


@pytest.mark.parametrize("rerank", ["convex", "none"])
def test_ranks_do_not_hang_on_how_many_are_asked_for(index: Index, rerank: str) -> None:
    index.add(rated(DEPTH + 100))
    plain = index.search("boat w7", k=DEPTH + 100, rerank=rerank)
    options: dict[str, Any] = {"prefer": {"rating": 3.0}, "rerank": rerank}
    every = index.search("boat w7", k=DEPTH + 100, **options)
    assert {hit.item.id for hit in every[:DEPTH]} == {hit.item.id for hit in plain[:DEPTH]}
    assert every[:10] != plain[:10]
    assert [hit.item.id for hit in every[DEPTH:]] == [hit.item.id for hit in plain[DEPTH:]]
    for k in (1, 10, 150):
        assert index.search("boat w7", k=k, **options) == every[:k]
    asked = ["boat w7", "w3", "boat"]
    many = index.search_many(asked, **options)
    assert many == [index.search(text, **options) for text in asked]


def test_of_many_items_some_tell_how_values_are_spread(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preferring, "_ITEMS_LOOKED_UP", 100)
    monkeypatch.setattr(preferring, "_FEW_VALUES", 50)
    index.add([*rated(300), *texts({f"rare{n}": {"rare": n} for n in range(40)})])
    with index._reader.view() as view:
        some = spread_of(view, index._reader.catalog, "rating")
        assert 80 < len(some) < 100
        assert abs(np.mean(np.array(some, float)) - 150) < 30
        assert spread_of(view, index._reader.catalog, "rare") == [*range(40)]
    for hit in index.search("boat", prefer={"rating": 1}):
        value = hit.item.columns.get("rating")
        if isinstance(value, int):
            exact = 2 * (value + 0.5) / 300 - 1
            assert hit.shares["prefer rating"] == pytest.approx(exact, abs=0.25)


def test_of_several_kinds_numbers_are_put_in_order(index: Index) -> None:
    mixed: dict[str, dict[str, ColumnValue]] = {
        **{"a": {"x": "9"}, "b": {"x": 1}},
        **{"c": {"x": True}, "d": {"x": ("z",)}},
    }
    add_in_order(index, texts(mixed))
    catalog = index._reader.catalog
    assert [*catalog.values("x").values()] == [1, 1]
    assert catalog.values("x", np.array([1, 2, 99])) == {2: 1}
    assert sources(index.search("boat", prefer={"x": -1})) == "abcd"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"prefer": {"ratng": 1}}, "prefer: there is no column 'ratng'; there are rating, date"),
        ({"prefer": {"tags": 1}}, "prefer: column 'tags' holds lists; prefer numbers, or texts"),
        ({"prefer": {"rating": 0}}, "prefer rating: weight 0: give a number other than 0"),
        ({"prefer": {"rating": float("nan")}}, "prefer rating: weight nan"),
        ({"prefer": {"rating": 1}, "rerank": "rrf"}, "the scores of rrf are none; use convex"),
    ],
)
def test_what_cannot_be_preferred_is_refused(
    few: Index, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        few.search("boat", **options)


def test_vectors_and_filters_go_with_it(few: Index) -> None:
    vector = np.ones(DIM, np.float32)
    assert sources(few.search(vector=vector, prefer={"rating": 1})) == "daceb"
    found = few.search("boat", where="rating > 2", prefer={"rating": -1})
    assert sources(found) == "aed"


def test_the_command_line_takes_weights(cli: Run, tmp_path: Path) -> None:
    assert preferences(["rating", "date:2", "size:-1.5", "a:b", "a:b:3"]) == {
        **{"rating": 1, "date": 2, "size": -1.5},
        "a:b": 3,
    }
    rows = [{"text": "boat", "rating": n, "id": f"r{n}", "relevant": "x"} for n in range(3)]
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli("index", str(manifest), "--text", "text")[0] == 0
    code, out, err = cli("query", "boat", "--prefer", "rating:2", "--json")
    page = json.loads(out)
    assert (code, page["query"]["prefer"]) == (0, {"rating": 2.0})
    assert [hit["item"]["row"] for hit in page["hits"]] == ["r2", "r1", "r0"]
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"text": "boat", "relevant": "rows.jsonl:r0"}) + "\n")
    code, out, err = cli("query", "--batch", str(asked), "--prefer", "rating:-1")
    assert [line.split("\t")[5] for line in out.splitlines()] == [f"{manifest}"] * 3
    for prefer, rank in (("rating:2", 3), ("rating:-2", 1)):
        code, out, err = cli("eval", str(asked), "--prefer", prefer, "--json")
        measures = json.loads(out)["directions"][0]["figures"]
        assert measures["mrr_at_k"]["value"] == pytest.approx(1 / rank)
    code, out, err = cli("query", "boat", "--prefer", "ratin")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "there are rating" in err


def test_evaluate_takes_preferences(few: Index, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"text": "boat", "relevant": "b"}) + "\n")
    found = mmsearch.evaluate(few, asked, prefer={"rating": -1})
    assert found.run["1"][0][0].endswith("b")
