"""Which examples are trained on, and which held out: no relevant item is in both."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import TrainingError
from mmsearch.train.fusion.examples import LEAST, Example
from mmsearch.train.splits import Split

_HELD_OUT = {Split.TEST: 0.2, Split.VALIDATION: 0.15}
"""Shares of the examples."""


def groups(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Return the number of each example's group: those that relevant items hold together."""
    parent = list(range(len(examples)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    first: dict[int, int] = {}
    for number, example in enumerate(examples):
        for item_id in example.relevant:
            parent[root(number)] = root(first.setdefault(item_id, number))
    roots = [root(number) for number in range(len(examples))]
    return np.unique(roots, return_inverse=True)[1]


def split(groups: NDArray[np.int64], seed: int) -> dict[Split, NDArray[np.int64]]:
    """Return which examples are for what, by lot; a group that holds most of them is trained on.

    Args:
        groups: (n,) int64, from :func:`groups`.
        seed: Of the lot.

    Raises:
        TrainingError: There are too few examples, or too few can be held out.
    """
    sizes = np.bincount(groups)
    order = np.random.default_rng([seed, 22]).permutation(len(sizes))
    free = order[sizes[order] <= len(groups) / 2]
    place = sizes[free].cumsum() / max(1, sizes[free].sum())
    purpose = np.full(len(sizes), Split.TRAIN, dtype=object)
    start = 0.0
    for name, share in _HELD_OUT.items():
        purpose[free[(start < place) & (place <= start + share)]] = name
        start += share
    found = {name: np.flatnonzero(purpose[groups] == name) for name in Split}
    if len(groups) < LEAST or any(
        len(found[name]) < s * LEAST / 2 for name, s in _HELD_OUT.items()
    ):
        raise TrainingError(
            f"{len(groups):,} queries with a relevant item among their candidates, "
            f"{len(found[Split.TEST]):,} of which can be held out, are too few to learn from: "
            f"give {LEAST:,}, about many items"
        )
    return found
