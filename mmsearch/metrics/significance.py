"""How far a figure over a sample of queries can be off, and whether a difference is noise.

Queries are what was sampled, so queries are drawn again. Everything is seeded, and done in blocks
of bounded memory: the same numbers come out each time, for ten queries or a million.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmsearch.metrics.graded import Values

RESAMPLES = 10_000
_BLOCK = 2**22
"""Numbers drawn at a time: 32 MiB."""
_TIED = 1 - 1e-9
"""Sums of the same numbers in another order differ by rounding."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over some queries.

    Attributes:
        value: Of these queries.
        low: The lower end of its 95 % interval.
        high: The upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """By how much one setting beats another on the same queries.

    Attributes:
        p: How often chance alone would make as large a difference, in either direction.
    """

    p: float


def mean_estimates(values: Values, seed: int = 0) -> list[Estimate]:
    """Return the mean of each column with its 95 % interval.

    Percentiles of the means of 10,000 resamples (Efron and Tibshirani 1993, section 13.3).

    Args:
        values: (queries, columns) float64; all columns see the same resamples.
        seed: Of the resamples.
    """
    means = [drawn @ values / len(values) for drawn in _resamples(len(values), seed)]
    return _estimates(values.mean(axis=0), np.concatenate(means))


def median_estimate(values: Values, seed: int = 0) -> Estimate:
    """Return the median of (queries,) values with its 95 % interval, as :func:`mean_estimates`."""
    ascending = np.sort(values)
    medians = [_medians(ascending, drawn) for drawn in _resamples(len(values), seed)]
    return _estimates(np.array([np.median(values)]), np.concatenate(medians)[:, None])[0]


def paired_differences(ours: Values, theirs: Values, seed: int = 0) -> list[Difference]:
    """Return for each column how much higher our mean is, its 95 % interval and its p-value.

    The p-value is that of Fisher's randomisation test, two-sided: if both settings were the same,
    either value of a query could have been either's (Smucker, Allan and Carterette, CIKM 2007).
    10,000 random exchanges, the observed one counted among them (Phipson and Smyth 2010), so that
    p is never 0.

    Args:
        ours: (queries, columns) float64.
        theirs: The same for the other setting, of the same queries.
        seed: Of resamples and exchanges.
    """
    differences = ours - theirs
    least = np.abs(differences.sum(axis=0)) * _TIED
    as_large = np.ones(differences.shape[1])
    for exchanged in _exchanges(len(differences), seed):
        sums = differences.sum(axis=0) - 2 * (exchanged @ differences)
        as_large += (np.abs(sums) >= least).sum(axis=0)
    p = (as_large / (RESAMPLES + 1)).tolist()
    found = mean_estimates(differences, seed)
    return [Difference(e.value, e.low, e.high, p) for e, p in zip(found, p, strict=True)]


def _estimates(values: Values, resampled: Values) -> list[Estimate]:
    ends = np.quantile(resampled, (0.025, 0.975), axis=0)
    return [Estimate(*map(float, one)) for one in zip(values, *ends, strict=True)]


def _medians(values: Values, drawn: Values) -> Values:
    """The medians of resamples of ascending values: what stands in the middle, or around it."""
    count = len(values)
    below = drawn.cumsum(axis=1)
    middle = [values[(below >= place).argmax(axis=1)] for place in (-(-count // 2), count // 2 + 1)]
    medians: Values = np.mean(middle, axis=0)
    return medians


def _resamples(count: int, seed: int) -> Iterator[Values]:
    """Yield how often each query is drawn in each of some resamples, (resamples, count) float64."""
    rng = np.random.default_rng(seed)
    for rows in _blocks(count):
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count)
        yield times.reshape(rows, count).astype(np.float64)


def _exchanges(count: int, seed: int) -> Iterator[Values]:
    """Yield which queries exchange their two values, (exchanges, count) of 0 and 1."""
    rng = np.random.default_rng(seed)
    for rows in _blocks(count):
        yield rng.integers(2, size=(rows, count), dtype=np.int8).astype(np.float64)


def _blocks(count: int) -> Iterator[int]:
    """Yield how many resamples of so many queries to make at a time."""
    most = max(1, _BLOCK // count)
    for start in range(0, RESAMPLES, most):
        yield min(most, RESAMPLES - start)
