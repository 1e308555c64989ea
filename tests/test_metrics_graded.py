"""The measures of ranked lists agree with trec_eval, by way of ir_measures, and behave."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ir_measures import AP, RR, R, Success, nDCG
from numpy.typing import NDArray

from mmsearch.metrics import (
    Measure,
    average_precision,
    first_ranks,
    mean_estimates,
    measure_queries,
    median_estimate,
    ndcg,
    paired_differences,
    recall,
    reciprocal_rank,
)
from mmsearch.metrics.significance import RESAMPLES

K = 20
Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def random_qrels(rng: np.random.Generator, queries: int, documents: int) -> Qrels:
    """Grades of 0 to 3 for up to 30 documents; each query has a relevant one."""
    qrels = {}
    for q in range(queries):
        names = rng.choice(documents, rng.integers(1, 31), replace=False)
        grades = {f"d{name}": int(rng.integers(4)) for name in names}
        qrels[f"q{q}"] = grades | {f"d{names[0]}": 1 + q % 3}
    return qrels


def random_run(rng: np.random.Generator, queries: int, documents: int) -> Run:
    """Many equal scores, short lists, and queries that are not answered at all."""
    return {
        f"q{q}": {
            f"d{name}": float(rng.integers(8))
            for name in rng.choice(documents, rng.integers(1, 2 * K), replace=False)
        }
        for q in range(queries)
        if rng.random() < 0.9
    }


def in_order(scores: dict[str, float]) -> list[str]:
    """The first K documents as trec_eval has them: equal scores by falling name."""
    return sorted(scores, key=lambda name: (scores[name], name), reverse=True)[:K]


@pytest.mark.parametrize("seed", range(20))
def test_every_measure_agrees_with_ir_measures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    qrels, run = random_qrels(rng, 40, 60), random_run(rng, 40, 60)
    ranked = {q: in_order(scores) for q, scores in run.items()}
    found = measure_queries(
        [ranked.get(q, []) for q in qrels],
        [{name: grade for name, grade in grades.items() if grade > 0} for grades in qrels.values()],
        K,
    )
    cut = {q: {name: run[q][name] for name in names} for q, names in ranked.items()}
    theirs = {
        Measure.HIT_AT_1: Success @ 1,
        Measure.HIT_AT_5: Success @ 5,
        Measure.HIT_AT_10: Success @ 10,
        Measure.RECALL_AT_K: R @ K,
        Measure.MRR_AT_K: RR,
        Measure.MAP_AT_K: AP @ K,
        Measure.NDCG_AT_10: nDCG @ 10,
    }
    numbers = {q: n for n, q in enumerate(qrels)}
    for name, measure in theirs.items():
        expected = np.zeros(len(qrels))  # a query that is not answered counts as 0: trec_eval -c
        for one in ir_measures.iter_calc([measure], qrels, cut):
            expected[numbers[one.query_id]] = one.value
        assert found[name] == pytest.approx(expected, abs=1e-6), name


def test_measures_of_one_list_worked_out_by_hand() -> None:
    grades, relevant = np.array([[0, 2, 0, 1]]), np.array([4])
    assert first_ranks(grades).tolist() == [2]
    assert recall(grades, relevant).tolist() == [0.5]
    assert reciprocal_rank(grades).tolist() == [0.5]
    assert average_precision(grades, relevant).tolist() == [(1 / 2 + 2 / 4) / 4]
    best = 3 + 2 / np.log2(3) + 1 / 2 + 1 / np.log2(5)
    gained = 2 / np.log2(3) + 1 / np.log2(5)
    assert ndcg(grades, np.array([[3, 2, 1, 1]])) == pytest.approx([gained / best])


def test_what_is_not_found_ranks_behind_all() -> None:
    nothing = np.zeros((2, 5), np.int64)
    assert first_ranks(nothing).tolist() == [6, 6]
    assert reciprocal_rank(nothing).tolist() == [0, 0]


grades = arrays(np.int64, st.tuples(st.integers(1, 6), st.just(8)), elements=st.integers(0, 3))


@given(grades)
def test_a_better_order_never_lowers_a_measure(found: NDArray[np.int64]) -> None:
    sorted_ = -np.sort(-found, axis=1)
    relevant = np.maximum((found > 0).sum(axis=1), 1)
    ideal = np.maximum(sorted_, np.eye(1, 8, dtype=np.int64))
    for measure in (
        reciprocal_rank,
        lambda g: average_precision(g, relevant),
        lambda g: ndcg(g, ideal),
        lambda g: -first_ranks(g),
    ):
        assert (measure(sorted_) >= measure(found) - 1e-12).all()
        assert (measure(sorted_) <= 1 + 1e-12).all()


values = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1, width=16))


@given(values)
def test_an_interval_lies_within_the_values_and_around_the_figure(v: NDArray[np.float64]) -> None:
    for found in (mean_estimates(v[:, None])[0], median_estimate(v)):
        assert v.min() - 1e-9 <= found.low <= found.high <= v.max() + 1e-9
        assert found.low <= found.value + 1e-9
        assert found.value <= found.high + 1e-9


@given(values)
def test_a_setting_does_not_differ_from_itself(v: NDArray[np.float64]) -> None:
    (same,) = paired_differences(v[:, None], v[:, None])
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_intervals_are_as_wide_as_theory_has_them() -> None:
    v = np.random.default_rng(0).normal(size=400)
    error = v.std() / 20
    mean, median = mean_estimates(v[:, None])[0], median_estimate(v)
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    # The median of a normal sample has sqrt(pi / 2) times the error of its mean.
    assert median.high - median.low == pytest.approx(2 * 1.96 * 1.2533 * error, rel=0.25)
    assert mean_estimates(v[:, None]) == mean_estimates(v[:, None])


def test_the_randomisation_test_counts_exchanges() -> None:
    """Of 2^5 exchanges of five equal differences two are as large as the observed one."""
    ours, theirs = np.ones((5, 1)), np.zeros((5, 1))
    (found,) = paired_differences(ours, theirs)
    assert found.p == pytest.approx(2 / 32, abs=0.01)
    (back,) = paired_differences(theirs, ours)
    assert (back.value, back.p) == (-found.value, found.p)


def test_the_randomisation_test_is_right_about_chance() -> None:
    """Of settings that do not differ, 5 % have a p of 0.05 at most; large ones have the least."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 400))
    found = [one.p for one in paired_differences(noise, np.zeros_like(noise))]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)
    (sure,) = paired_differences(noise[:, :1] + 5, noise[:, :1])
    assert sure.p == pytest.approx(1 / (RESAMPLES + 1))


def test_blocks_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    v = np.random.default_rng(0).random((50, 2))
    whole = (mean_estimates(v), median_estimate(v[:, 0]), paired_differences(v, v[::-1]))
    monkeypatch.setattr("mmsearch.metrics.significance._BLOCK", 777)
    assert (mean_estimates(v), median_estimate(v[:, 0])) == whole[:2]
    parts = paired_differences(v, v[::-1])
    assert [one.p for one in parts] == pytest.approx([one.p for one in whole[2]], abs=0.02)
