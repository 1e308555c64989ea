"""Which items are trained on, and which are held out."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.records import Item

HELD_OUT = 0.1
"""Share of the groups for validation, and again for the test."""


class Split(StrEnum):
    """What a pair is for: to learn from, to decide when to stop, to report figures."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


_NAMES = {"train": Split.TRAIN, "test": Split.TEST}
_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev"), Split.VALIDATION)


def splits(items: Sequence[Item], column: str | None, seed: int) -> list[Split]:
    """For each item what it is for.

    Items that share a file, or a value of the column, are a group and for the same. The ``split``
    column of a row decides for its group; a tenth of the other groups is drawn for the test and a
    tenth for validation. Where rows name no test or no validation, it is drawn from what is to be
    trained on.

    Args:
        items: All items.
        column: Makes groups of items with equal values, if they have one.
        seed: Of what is drawn.

    Raises:
        UsageError: No item has the column, a split has an unknown name, or rows of one group are
            for different things.
    """
    groups = _groups(items, column)
    given = _given(items, groups)
    found = given | _drawn(given, sorted(set(groups) - given.keys()), seed)
    return [found[group] for group in groups]


def _groups(items: Sequence[Item], column: str | None) -> list[int]:
    """For each item the number of its group: union of those that share a file or a value."""
    if column is not None and not any(column in item.columns for item in items):
        raise UsageError(f"{items[0].source}: no row has a column {column!r}")
    parent = list(range(len(items)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    first: dict[object, int] = {}
    for number, item in enumerate(items):
        keys: list[object] = [part.path for part in item.parts if part.path]
        value = item.columns.get(column) if column is not None else None
        if value not in (None, ""):
            keys.append((column, value))
        for key in keys:
            parent[root(number)] = root(first.setdefault(key, number))
    return [root(number) for number in range(len(items))]


def _given(items: Sequence[Item], groups: Sequence[int]) -> dict[int, Split]:
    """The groups whose rows say what they are for."""
    found: dict[int, tuple[Split, Item]] = {}
    for item, group in zip(items, groups, strict=True):
        name = str(item.columns.get("split") or "").lower()
        if not name:
            continue
        if name not in _NAMES:
            raise UsageError(
                f"{item.source}: row {item.row}: split {name!r} is not one of {', '.join(_NAMES)}"
            )
        split, other = found.setdefault(group, (_NAMES[name], item))
        if split is not _NAMES[name]:
            raise UsageError(
                f"{item.source}: row {item.row} is for {name}, but row {other.row}, which shares "
                f"a file or a group with it, is for {split}: such rows must be for the same"
            )
    return {group: split for group, (split, _) in found.items()}


def _drawn(given: Mapping[int, Split], free: Sequence[int], seed: int) -> dict[int, Split]:
    """What groups are for by lot: the free ones, and what is missing from the given ones."""
    wanted = [s for s in (Split.TEST, Split.VALIDATION) if free or s not in given.values()]
    pool = free or sorted(group for group, split in given.items() if split is Split.TRAIN)
    order = np.random.default_rng([seed, 20]).permutation(len(pool))
    held = max(1, round(HELD_OUT * len(pool)))
    found = dict.fromkeys(free, Split.TRAIN)
    for number, split in enumerate(wanted):
        found |= {pool[at]: split for at in order[number * held : (number + 1) * held]}
    return found
