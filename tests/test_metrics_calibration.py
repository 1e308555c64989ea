"""Measures of probabilities, against their definitions."""

import numpy as np
import pytest

from mmsearch.metrics import auroc, brier_skill, expected_calibration_error


def test_true_probabilities_are_calibrated_and_false_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(100_000)
    outcomes = rng.random(100_000) < probabilities
    assert expected_calibration_error(probabilities, outcomes) < 0.01
    halved = expected_calibration_error(probabilities / 2, outcomes)
    assert halved == pytest.approx(0.25, abs=0.01)
    assert brier_skill(probabilities, outcomes) > 0.3 > brier_skill(probabilities / 2, outcomes)


def test_calibration_by_hand() -> None:
    probabilities = np.array([0.1, 0.2, 0.6, 0.9])
    outcomes = np.array([False, True, True, True])
    gaps = [abs(0.5 - 0.15), abs(1 - 0.75)]
    assert expected_calibration_error(probabilities, outcomes, 2) == pytest.approx(np.mean(gaps))
    assert brier_skill(probabilities, outcomes) == pytest.approx(
        1 - np.mean([0.01, 0.64, 0.16, 0.01]) / (0.75 * 0.25)
    )


def test_the_base_rate_has_no_skill() -> None:
    outcomes = np.arange(50) % 5 == 0
    base = np.full(50, 0.2)
    assert brier_skill(base, outcomes) == pytest.approx(0)
    assert auroc(base, outcomes) == 0.5
    assert expected_calibration_error(base, outcomes, 5) == pytest.approx(0)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 10, 80) / 10
    outcomes = rng.random(80) < 0.3
    pairs = [(r > w) + (r == w) / 2 for r in values[outcomes] for w in values[~outcomes]]
    assert auroc(values, outcomes) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("outcome", [True, False])
def test_one_kind_of_outcome_tells_nothing(outcome: bool) -> None:
    outcomes = np.full(7, outcome)
    assert auroc(np.arange(7.0), outcomes) == 0.5
    assert brier_skill(np.arange(7) / 7, outcomes) == 0
