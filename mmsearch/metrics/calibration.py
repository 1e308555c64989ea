"""Whether probabilities are true, and whether they tell right from wrong."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.graded import Values


def expected_calibration_error(
    probabilities: Values, outcomes: NDArray[np.bool_], bins: int = 10
) -> float:
    """Return by how much probabilities are off, on average over bins of as many each.

    The mean of ``|share that came true - mean probability|`` (Naeini et al. 2015) in bins of equal
    mass (Nguyen and O'Connor 2015, arXiv 1508.05154).

    Args:
        probabilities: (n,) float64, 0 to 1.
        outcomes: (n,) bool.
        bins: How many.
    """
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(outcomes[part].mean() - probabilities[part].mean()) for part in parts]
    return float(np.average(gaps, weights=[len(part) for part in parts]))


def brier_skill(probabilities: Values, outcomes: NDArray[np.bool_]) -> float:
    """Return by what share probabilities err less than the base rate would, at most 1.

    ``1 - Brier score / Brier score of the base rate`` (Murphy 1973); 0 for the base rate itself,
    and where all outcomes are the same.
    """
    base = outcomes.mean()
    reference = base * (1 - base)
    score = np.square(probabilities - outcomes).mean()
    return float(1 - score / reference) if reference else 0.0


def auroc(values: Values, outcomes: NDArray[np.bool_]) -> float:
    """Return how often something true has a higher value than something false, ties as a half.

    The area under the ROC curve by the Mann-Whitney statistic; 0.5 where either is missing.
    """
    right = np.sort(values[outcomes])
    wrong = np.sort(values[~outcomes])
    if not len(right) or not len(wrong):
        return 0.5
    below = np.searchsorted(wrong, right, side="left").sum()
    equal = np.searchsorted(wrong, right, side="right").sum() - below
    return float((below + equal / 2) / (len(right) * len(wrong)))
