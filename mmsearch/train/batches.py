"""Which rows a step trains on: a function of the seed and the step's number alone."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def batch(count: int, size: int, seed: int, step: int) -> NDArray[np.int64]:
    """The rows of one step: epochs of random batches, all of the same size.

    Args:
        count: Rows there are; must be at least ``size``.
        size: Rows of a batch; what is left over at the end of an epoch is not used in it.
        seed: Of the order.
        step: From 0.

    Returns:
        (size,) int64.
    """
    epoch, number = divmod(step, count // size)
    return _order(count, seed, epoch)[number * size : (number + 1) * size]


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, count]).permutation(count)
