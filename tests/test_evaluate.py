"""Judging an index: queries and qrels in, figures and runs out."""

import json
import os
import random
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from fakes import fake_model, word_vector
from ir_measures import AP, RR, R, Success, nDCG
from media import picture, sound, text
from test_tune import clusters
from test_video import film

import mmsearch
from mmsearch import Evaluation, Index, UsageError, evaluate
from mmsearch.engine import hubs
from mmsearch.engine.naming import Naming
from mmsearch.metrics import Measure
from mmsearch.search import effort
from mmsearch.sources.trec import read_qrels, read_run, run_lines

COLOURS = ("red", "green", "blue")


def rows(path: Path, *found: dict[str, Any]) -> Path:
    return text(path, "\n".join(map(json.dumps, found)))


@pytest.fixture
def media(tmp_path: Path, index: Index) -> Path:
    """Four pictures of each colour and a sound of each pitch, indexed."""
    for colour in COLOURS:
        for n in range(4):
            picture(tmp_path / f"m/{colour}{n}.png", colour, side=8 + n)
    sound(tmp_path / "m/high.wav", "high")
    sound(tmp_path / "m/low.wav", "low")
    index.add(tmp_path / "m")
    return tmp_path


def values(found: Evaluation, measure: Measure, direction: int = 0) -> list[float]:
    return list(found.directions[direction].figures.values[measure])


def test_queries_of_several_modalities_are_judged_by_direction(index: Index, media: Path) -> None:
    asked = rows(
        media / "q.jsonl",
        {"id": "words", "text": "red", "relevant": ["m/red0.png", "m/red3.png"]},
        {"id": "picture", "image": "m/blue1.png", "relevant": "m/blue1.png"},
        {"id": "both", "text": "green", "image": "m/green1.png", "relevant": ["m/green1.png"]},
        {"id": "heard", "audio": "m/low.wav", "relevant": [str(media / "m/low.wav")]},
    )
    found = evaluate(index, asked)
    names = [(one.direction, one.queries) for one in found.directions]
    assert names == [
        ("audio->all", ("heard",)),
        ("image->all", ("picture",)),
        ("text+image->all", ("both",)),
        ("text->all", ("words",)),
        ("all", ("words", "picture", "both", "heard")),
    ]
    assert values(found, Measure.HIT_AT_5, -1) == [1, 1, 1, 1]
    assert values(found, Measure.RECALL_AT_K, -1) == [1, 1, 1, 1]
    assert not found.failures
    assert not found.absent
    for one in found.directions:
        assert one.ann_recall_at_10 is None
        assert (one.ms > 0).all()
        assert one.median_ms <= one.p95_ms


def test_what_is_found_is_what_a_search_finds(index: Index, media: Path) -> None:
    asked = rows(media / "q.jsonl", {"id": "a", "text": "red", "relevant": ["m/red2.png"]})
    found = evaluate(index, asked, target="image", k=11, templates=["a {}", "{} thing"])
    hits = index.search("red", target="image", k=11, templates=["a {}", "{} thing"])
    assert found.run["a"] == tuple((f"m/{hit.item.path.name}", hit.score) for hit in hits)
    (rank,) = (hit.rank for hit in hits if hit.item.path.name == "red2.png")
    assert values(found, Measure.MEDIAN_RANK) == [rank]
    assert values(found, Measure.MRR_AT_K) == [1 / rank]


def test_a_filter_hides_what_is_relevant(index: Index, tmp_path: Path) -> None:
    listed = rows(tmp_path / "l.jsonl", {"text": "red", "n": 1}, {"text": "red", "n": 2})
    index.add(listed)
    asked = rows(tmp_path / "q.jsonl", {"text": "red", "relevant": ["2"]})
    assert values(evaluate(index, asked), Measure.RECALL_AT_K) == [1]
    hidden = evaluate(index, asked, where="n = 1")
    assert values(hidden, Measure.RECALL_AT_K) == [0]
    assert values(hidden, Measure.MEDIAN_RANK) == [101]
    assert hidden.absent == ()


def test_rows_are_named_by_id_manifest_or_file(index: Index, tmp_path: Path) -> None:
    picture(tmp_path / "p/x.png", "red")
    index.add(
        rows(
            tmp_path / "list.jsonl",
            {"id": "first", "text": "a red thing"},
            {"id": "second", "image": "p/x.png"},
            {"id": "third", "image": "p/x.png", "text": "red"},
        )
    )
    names = ["first", "list.jsonl:second", "./list.jsonl:third", "p/x.png", "gone", "p/gone.png"]
    asked = rows(
        tmp_path / "q.jsonl",
        *({"id": name, "text": "red", "relevant": [name]} for name in names),
    )
    found = evaluate(index, asked)
    assert values(found, Measure.RECALL_AT_K) == [1, 1, 1, 1, 0, 0]
    assert found.absent == ("gone", "p/gone.png")
    every = {name for name, _ in found.run["gone"]}
    assert every == {"list.jsonl:first", "list.jsonl:second", "list.jsonl:third"}
    # A file that two rows show is one name, at the better rank.
    assert [name for name, _ in found.run["p/x.png"]].count("p/x.png") == 1
    assert len(found.run["p/x.png"]) == 2


def test_grades_of_zero_are_not_relevant_and_what_has_none_is_left_out(
    index: Index, media: Path
) -> None:
    asked = rows(
        media / "q.jsonl",
        {"text": "red", "relevant": [{"item": "m/red0.png", "grade": 2}, "m/red1.png"]},
        {"text": "red", "relevant": [{"item": "m/red0.png", "grade": 0}]},
        {"text": "red", "relevant": {"item": "m/red0.png", "grade": -1}},
        {"text": "red", "relevant": []},
        {"text": "red"},
    )
    found = evaluate(index, asked, target="image")
    assert found.unjudged == 4
    assert found.directions[0].queries == ("1",)


def test_rows_that_are_no_query_are_listed_with_their_reason(index: Index, media: Path) -> None:
    text(media / "m/broken.png", "no picture")
    wrong: dict[str, dict[str, Any]] = {
        "several texts": {"text": ["red", "blue"], "relevant": ["a"]},
        "put its words": {"path": "words.txt", "relevant": ["a"]},
        "no picture, sound or text": {"relevant": ["a"]},
        "is no whole number": {"text": "a", "relevant": [{"item": "a", "grade": 1.5}]},
        "grade of 'b' is no whole": {"text": "a", "relevant": [{"item": "b", "grade": 2**99}]},
        "nothing else": {"text": "a", "relevant": [{"item": "a", "rank": 1}]},
        "named by a text": {"text": "a", "relevant": [{"grade": 1}]},
        "two grades": {"text": "a", "relevant": ["a", {"item": "a", "grade": 2}]},
        "another row has the id": {"id": "good", "text": "a", "relevant": ["a"]},
        "broken.png": {"image": "m/broken.png", "relevant": ["a"]},
        "absent.png": {"image": "m/absent.png", "relevant": ["a"]},
    }
    good = {"id": "good", "text": "red", "relevant": ["m/red0.png"]}
    found = evaluate(index, rows(media / "q.jsonl", good, *wrong.values()))
    assert found.directions[0].queries == ("good",)
    for part, failure in zip(wrong, found.failures, strict=True):
        assert part in failure.reason


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("", {}, "no rows"),
        ('{"text": "red"}', {}, "no row has a column 'relevant'"),
        ('{"text": ["a", "b"], "relevant": ["x"]}', {}, "several texts.*no query is left"),
        ('{"image": "absent.png", "relevant": ["x"]}', {}, "none of the queries can be asked"),
        ('{"text": "red", "relevant": ["x"]}', {"k": 9}, "k is 9"),
        ('{"text": "red", "relevant": ["x"]}', {"target": "smell"}, "a modality is one of"),
        ('{"text": "red", "relevant": ["x"]}', {"where": "n = 1"}, "there is no column 'n'"),
        ('{"text": "red", "relevant": ["x"]}', {"templates": "red"}, "needs {}"),
        ('{"text": "red", "relevant": ["x"]}', {"qrels": "good.qrels"}, "a column 'relevant' al"),
        ('{"text": "red"}', {"qrels": "good.qrels"}, "do the ids agree"),
        ('{"text": "red"}', {"qrels": "absent.qrels"}, "absent.qrels: cannot be read: No such"),
        ('{"text": "red", "relevant": ["x"]}', {"against": "other.trec"}, "do the ids agree"),
        ('{"text": "red", "relevant": ["x"]}', {"against": "empty.trec"}, "an empty run"),
        ('{"text": "red", "relevant": ["x"]}', {"against": "good.qrels"}, "line 1: not query, Q0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    index: Index,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    options: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.chdir(media)
    text(media / "good.qrels", "q1 0 m/red0.png 1")
    text(media / "other.trec", "q1 Q0 m/red0.png 1 0.5 x")
    text(media / "empty.trec", "\n")
    with pytest.raises(UsageError, match=says) as raised:
        evaluate(index, text(media / "q.jsonl", content), **options)
    assert "\n" not in str(raised.value)


def test_a_film_asks_with_pictures_and_sound(index: Index, media: Path) -> None:
    film(media / "both.mp4", [("red", 2)], [("low", 2)])
    film(media / "silent.mp4", [("red", 2)])
    asked = rows(
        media / "q.jsonl",
        {"video": "both.mp4", "relevant": ["m/low.wav"]},
        {"video": "silent.mp4", "relevant": ["m/red0.png"]},
        {"image": "silent.mp4", "relevant": ["m/red0.png"]},
    )
    found = evaluate(index, asked)
    directions = [one.direction for one in found.directions]
    assert directions == ["image+audio->all", "image->all", "all"]
    assert values(found, Measure.RECALL_AT_K, -1) == [1, 1]
    assert [failure.row for failure in found.failures] == ["2"]
    assert "no audio in it" in found.failures[0].reason


def test_only_manifests_hold_queries(index: Index, media: Path) -> None:
    (media / "folder.jsonl").mkdir()
    with pytest.raises(UsageError, match="rows of a manifest"):
        evaluate(index, media / "folder.jsonl")
    with pytest.raises(UsageError, match="rows of a manifest"):
        evaluate(index, media / "m/red0.png")
    with pytest.raises(UsageError, match="no such file"):
        evaluate(index, media / "absent.jsonl")


def test_trec_queries_and_qrels(index: Index, media: Path) -> None:
    asked = text(media / "q.tsv", "id\ttext\nq1\tred\nq2\tgreen\nq3\tblue\n")
    picture(media / "m/red 50%.png", "red", side=20)
    index.add(media / "m")
    lines = ["q1 0 m/red%2050%25.png 1", "q1 0 m/blue0.png 0", "q2 0 m/green0.png 3", "q9 0 x 1"]
    qrels = text(media / "judged.qrels", "\n".join(lines))
    found = evaluate(index, asked, qrels=qrels, target="image")
    assert found.directions[0].queries == ("q1", "q2")
    assert (found.unjudged, found.unasked) == (1, 1)
    assert values(found, Measure.RECALL_AT_K) == [1, 1]
    assert "m/red 50%.png" in dict(found.run["q1"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q1 0 a", "line 2: not query, iteration, item, grade: 'q1 0 a'"),
        ("q1 0 a b 1", "line 2: not"),
        ("q1 0 a high", "line 2: the grade 'high' is no number"),
        ("q1 0 a 1.5", "line 2: the grade '1.5' is no number"),
        (f"q1 0 a {2**40}", "line 2: the grade '1099511627776' is too large"),
        ("q0 0 a 2", "line 2: a was given another grade before"),
    ],
)
def test_bad_qrels_name_the_line(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_qrels(text(tmp_path / "x.qrels", f"q0 0 a 1\n{line}\n"))
    (tmp_path / "x.qrels").write_bytes(b"q0 0 \xff 1")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_qrels(tmp_path / "x.qrels")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q Q0 b 2 nan x", "the score 'nan' is no number"),
        ("q Q0 a 2 0.5 x", "found before"),
    ],
)
def test_bad_runs_name_the_line(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"line 2.*{says}"):
        read_run(text(tmp_path / "x.trec", f"q Q0 a 1 0.5 x\n{line}\n"))


def test_names_survive_a_run_file(tmp_path: Path) -> None:
    names = ["plain.png", "two words", "tab\there", "100%", "%20", "é", "line\nbreak", "\udcff", ""]
    found = tuple((name, 1.0) for name in names if name)
    lines = list(run_lines({"a query": found}, "tag"))
    assert all(len(line.split(" ")) == 6 for line in lines)
    assert "\xe9" in lines[5]
    path = text(tmp_path / "x.trec", "\n".join(lines))
    assert read_run(path) == {"a query": [name for name, _ in found]}


def test_equal_scores_are_written_apart_so_that_trec_eval_keeps_the_order(tmp_path: Path) -> None:
    scores = [3.0, 1.5, 1.5, 1.5, np.nextafter(np.float32(1.5), 0), 0.0, 0.0, -2.0]
    found = tuple((f"d{n}", float(score)) for n, score in enumerate(scores))
    written = [float(line.split()[4]) for line in run_lines({"q": found}, "tag")]
    as_floats = np.array(written, np.float32)
    assert (np.diff(as_floats) < 0).all()
    assert as_floats == pytest.approx(scores, abs=1e-6)


def test_a_run_is_read_by_its_scores_equal_ones_in_their_order(tmp_path: Path) -> None:
    lines = ["q Q0 b 1 1 x", "q Q0 a 2 1 x", "q Q0 c 3 2 x", "p Q0 a 1 1 x"]
    assert read_run(text(tmp_path / "x.trec", "\n".join(lines))) == {
        "q": ["c", "b", "a"],
        "p": ["a"],
    }


def test_what_is_written_agrees_with_ir_measures(index: Index, media: Path) -> None:
    """The run file, read by another program, gives the figures that are reported."""
    rng = random.Random(0)
    lines, asked = [], []
    for n in range(30):
        asked.append({"id": f"q{n}", "text": rng.choice([*COLOURS, "high", "low red"])})
        for name in rng.sample(sorted(os.listdir(media / "m")), 5):
            lines.append(f"q{n} 0 m/{name} {rng.randrange(3)}")
        lines.append(f"q{n} 0 m/nowhere.png {1 + n % 2}")
    qrels = text(media / "x.qrels", "\n".join(lines))
    found = evaluate(index, rows(media / "q.jsonl", *asked), qrels=qrels, k=10)
    mmsearch.write_run(found, media / "out.trec")
    theirs = ir_measures.calc_aggregate(
        [Success @ 1, Success @ 5, Success @ 10, R @ 10, RR, AP @ 10, nDCG @ 10],
        ir_measures.read_trec_qrels(str(qrels)),  # type: ignore[no-untyped-call]
        ir_measures.read_trec_run(str(media / "out.trec")),  # type: ignore[no-untyped-call]
    )
    ours = found.directions[0].figures.estimates
    assert len(found.directions[0].queries) == 30
    for measure, theirs_name in {
        Measure.HIT_AT_1: Success @ 1,
        Measure.HIT_AT_5: Success @ 5,
        Measure.HIT_AT_10: Success @ 10,
        Measure.RECALL_AT_K: R @ 10,
        Measure.MRR_AT_K: RR,
        Measure.MAP_AT_K: AP @ 10,
        Measure.NDCG_AT_10: nDCG @ 10,
    }.items():
        assert ours[measure].value == pytest.approx(theirs[theirs_name], abs=1e-6)


def test_a_setting_is_compared_with_an_earlier_run(index: Index, media: Path) -> None:
    asked = rows(
        media / "q.jsonl",
        *(
            {"id": f"{colour}{n}", "text": colour, "relevant": [f"m/{colour}{n}.png"]}
            for colour in COLOURS
            for n in range(4)
        ),
    )
    first = evaluate(index, asked, target="image", k=12)
    mmsearch.write_run(first, media / "first.trec")
    again = evaluate(index, asked, target="image", k=12, against=media / "first.trec")
    against = again.directions[0].against
    assert against is not None
    assert {(d.value, d.p) for d in against.differences.values()} == {(0, 1)}
    assert against.figures.estimates == first.directions[0].figures.estimates
    worse = evaluate(
        index, asked, target="image", k=12, templates="high {}", against=media / "first.trec"
    )
    assert worse.directions[0].against is not None
    lines = (media / "first.trec").read_text().splitlines()
    text(media / "half.trec", "\n".join(line for line in lines if line.startswith("red")))
    half = evaluate(index, asked, target="image", k=12, against=media / "half.trec")
    assert half.unanswered == 8
    assert half.directions[0].against is not None
    gained = half.directions[0].against.differences[Measure.RECALL_AT_K]
    assert gained.value == pytest.approx(8 / 12)
    assert gained.low <= gained.value <= gained.high
    assert gained.p < 0.05


def test_what_approximation_costs_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text looks into 16 of 128 lists: less than all is found, most is."""
    monkeypatch.setattr(effort, "_LEAST_ACROSS", 16)
    monkeypatch.setattr(hubs, "LEAST", 10_000)  # scores are cosines, which are compared below
    np.save(tmp_path / "pictures.npy", clusters(1, 3_000))
    with mmsearch.create(tmp_path / "index", model=fake_model(), recipe="IVF128,PQ8") as index:
        index.add_vectors(tmp_path / "pictures.npy")
        asked = rows(
            tmp_path / "q.jsonl",
            *({"text": f"word{n}", "relevant": [f"{n + 1}"]} for n in range(60)),
        )
        (found,) = evaluate(index, asked).directions
        assert found.ann_recall_at_10 is not None
        assert 0.5 < found.ann_recall_at_10.low < found.ann_recall_at_10.value < 1
        vectors = np.stack([word_vector(f"word{n}") for n in range(60)])
        base = clusters(1, 3_000).astype(np.float16).astype(np.float32)
        exact = np.argsort(-(vectors @ base.T), axis=1)[:, :10] + 1
        hits = index.search_many(vectors=vectors, k=10)
        shares = [
            len({int(hit.item.row or 0) for hit in mine} & set(right)) / 10
            for mine, right in zip(hits, exact.tolist(), strict=True)
        ]
        assert found.ann_recall_at_10.value == pytest.approx(np.mean(shares), abs=1e-6)


def test_the_curve_is_drawn(index: Index, media: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    asked = rows(
        media / "q.jsonl",
        {"text": "red", "relevant": ["m/red0.png"]},
        {"image": "m/red1.png", "relevant": ["m/red1.png"]},
    )
    found = evaluate(index, asked)
    mmsearch.write_run(found, tmp_path / "$x$.trec")
    compared = evaluate(index, asked, against=tmp_path / "$x$.trec")
    for each in (found, compared):
        mmsearch.plot_evaluation(each, tmp_path / "out.png")
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="ends in .png"):
        mmsearch.plot_evaluation(found, tmp_path / "out.pdf")


def test_names_that_mean_one_place_mean_one_item() -> None:
    naming = Naming("/data")
    assert naming.places(["a/b.png", "7"]) == {
        "a/b.png": "a/b.png",
        "/data/a/b.png": "a/b.png",
        "7": "7",
        "/data/7": "7",
    }
