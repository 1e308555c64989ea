"""The measures, on cases worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_model
from media import picture, text

from mmsearch import UsageError
from mmsearch.engine.evaluate_model import evaluate_model
from mmsearch.metrics import first_relevant_ranks, hit_at_k

SCORES = np.array([[0.9, 0.8, 0.1], [0.2, 0.5, 0.5], [0.3, 0.2, 0.1]], np.float32)


def test_ranks_count_what_scores_higher_and_ties_against_the_query() -> None:
    relevant = [np.array([0]), np.array([1]), np.array([2])]
    assert first_relevant_ranks(SCORES, relevant).tolist() == [1, 2, 3]


def test_what_is_no_number_counts_against_the_query() -> None:
    scores = np.full((3, 3), np.nan, np.float32)
    scores[2] = [0.3, np.nan, 0.1]
    relevant = [np.array([0]), np.array([1, 2]), np.array([0])]
    assert first_relevant_ranks(scores, relevant).tolist() == [3, 2, 2]


def test_the_best_of_several_relevant_items_counts() -> None:
    relevant = [np.array([1, 2]), np.array([1, 2]), np.array([0, 2])]
    assert first_relevant_ranks(SCORES, relevant).tolist() == [2, 1, 1]


def test_hit_at_k_is_the_share_of_queries_with_a_hit() -> None:
    ranks = np.array([1, 2, 5, 11])
    assert [hit_at_k(ranks, k) for k in (1, 5, 10, 11)] == [0.25, 0.75, 0.75, 1.0]


def test_eval_ranks_both_ways_and_counts_what_is_wrong(tmp_path: Path) -> None:
    for colour in ("red", "green", "blue"):
        picture(tmp_path / f"{colour}.png", colour)
    rows = [
        {"image": "red.png", "text": "red"},
        {"image": "green.png", "text": "green"},
        {"image": "blue.png", "text": "red"},
    ]
    manifest = text(tmp_path / "pairs.jsonl", "\n".join(map(json.dumps, rows)))
    forth, back = evaluate_model(manifest, model=fake_model())
    assert (forth.direction, back.direction) == ("text->image", "image->text")
    assert (forth.queries, forth.gallery) == (3, 3)
    assert forth.hit_at_1 == pytest.approx(2 / 3)
    assert forth.hit_at_5 == back.hit_at_10 == 1


def test_eval_leaves_broken_rows_out_and_counts_them(tmp_path: Path) -> None:
    picture(tmp_path / "red.png", "red")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = [
        {"image": "red.png", "text": "red"},
        {"image": "broken.png", "text": "red"},
        {"image": "missing.png", "text": "red"},
    ]
    manifest = text(tmp_path / "pairs.jsonl", "\n".join(map(json.dumps, rows)))
    forth, back = evaluate_model(manifest, model=fake_model())
    assert (forth.queries, forth.gallery, forth.failed) == (1, 1, 2)
    assert (back.queries, back.gallery, back.failed) == (1, 1, 2)


def test_eval_refuses_rows_without_pairs(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    manifest = text(tmp_path / "pairs.jsonl", '{"image": "a.png"}\n{"text": "red"}')
    with pytest.raises(UsageError, match="no row pairs"):
        evaluate_model(manifest, model=fake_model())
