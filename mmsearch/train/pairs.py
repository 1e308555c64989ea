"""What goes together: the pairs of parts in manifests, and which of them are trained on."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.errors import TrainingError, UsageError
from mmsearch.records import Failure, Item, Modality, Part
from mmsearch.sources import find_items

HELD_OUT = 0.1
"""Share of the groups for validation, and again for the test."""


class Split(StrEnum):
    """What a pair is for: to learn from, to decide when to stop, to report figures."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


_NAMES = {"train": Split.TRAIN, "test": Split.TEST}
_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev"), Split.VALIDATION)


@dataclass(frozen=True)
class Pairing:
    """The pairs of two modalities.

    Attributes:
        left: The one modality.
        right: The other.
        rows: (n, 2) int64, the numbers of the two parts in their modalities' lists.
        items: (n,) int64, the number of the item that each pair is of.
        splits: (n,) of :class:`Split` values.
    """

    left: Modality
    right: Modality
    rows: NDArray[np.int64]
    items: NDArray[np.int64]
    splits: NDArray[np.str_]

    @property
    def name(self) -> str:
        """Both modalities: ``image-text``."""
        return f"{self.left}-{self.right}"

    @property
    def members(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The parts of each side, each once, in order."""
        return np.unique(self.rows[:, 0]), np.unique(self.rows[:, 1])

    def of(self, split: Split) -> "Pairing":
        """The pairs of one split."""
        return self.take(np.flatnonzero(self.splits == split.value))

    def take(self, chosen: NDArray[np.int64]) -> "Pairing":
        """Some of the pairs."""
        rows, items, splits = self.rows[chosen], self.items[chosen], self.splits[chosen]
        return Pairing(self.left, self.right, rows, items, splits)

    def readable(self, usable: Mapping[Modality, NDArray[np.bool_]]) -> "Pairing":
        """The pairs whose parts could both be read.

        Args:
            usable: For each modality, whether each of its parts could.
        """
        left, right = usable[self.left], usable[self.right]
        return self.take(np.flatnonzero(left[self.rows[:, 0]] & right[self.rows[:, 1]]))

    def same(self) -> Tensor:
        """(n, n) bool: which right part fits which left part: of one item, or one and the same."""
        keys = [torch.from_numpy(key) for key in (self.rows[:, 0], self.rows[:, 1], self.items)]
        fits = [key[:, None] == key[None] for key in keys]
        return fits[0] | fits[1] | fits[2]


@dataclass(frozen=True)
class Pairs:
    """All pairs of one or more manifests.

    Attributes:
        parts: For each modality its parts, each file or text once.
        pairings: One for each two modalities that meet in an item.
        failures: Rows that could not be read.
    """

    parts: Mapping[Modality, Sequence[Part]]
    pairings: Sequence[Pairing]
    failures: Sequence[Failure]


def read_pairs(
    manifests: Sequence[str | os.PathLike[str]],
    text_columns: Sequence[str] = (),
    group: str | None = None,
    seed: int = 0,
    change: Callable[[Item], Item] = lambda item: item,
) -> Pairs:
    """Read pairs: every two parts of different modalities of one item.

    A ``split`` column says what an item is for (train, validation, test). Without it a tenth of the
    groups is kept for validation and a tenth for the test. Items that share a file are one group,
    so that nothing is tested on what was trained on.

    Args:
        manifests: JSON lines or CSV files, as ``mmsearch index`` takes them, or folders of them.
        text_columns: Further columns that hold texts.
        group: A column whose equal values make one group: a recording, a photographer.
        seed: Of the split.
        change: What is done to every item first, such as cleaning its texts.

    Raises:
        UsageError: A manifest does not exist.
        TrainingError: There are no pairs, or none are left to train on.
    """
    paths = [os.path.abspath(os.path.expanduser(os.fsdecode(path))) for path in manifests]
    items: list[Item] = []
    failures: list[Failure] = []
    for found in find_items(paths, text_columns=text_columns):
        if isinstance(found, Failure):
            failures.append(found)
        elif isinstance(found, Item):
            item = change(found)
            if len({part.modality for part in item.parts}) > 1:
                items.append(item)
    if not items:
        raise TrainingError(
            f"{', '.join(paths)}: no row has parts of two modalities, such as image and text"
        )
    splits = _splits(items, _groups(items, group), seed)
    return _collect(items, splits, failures)


def _collect(items: Sequence[Item], splits: Sequence[Split], failures: Sequence[Failure]) -> Pairs:
    numbers: dict[Modality, dict[Part, int]] = {}
    found: dict[tuple[Modality, Modality], list[tuple[int, int, int]]] = {}
    for number, item in enumerate(items):
        for one, other in combinations(item.parts, 2):
            left, right = sorted((one, other), key=lambda part: part.modality)
            if left.modality is right.modality:
                continue
            row = [_number(numbers.setdefault(p.modality, {}), p) for p in (left, right)]
            found.setdefault((left.modality, right.modality), []).append((row[0], row[1], number))
    pairings = [
        Pairing(*kind, rows[:, :2], rows[:, 2], np.array([splits[n].value for n in rows[:, 2]]))
        for kind, rows in ((kind, np.array(rows, np.int64)) for kind, rows in found.items())
    ]
    for pairing in pairings:
        for split in Split:
            if not len(pairing.of(split).rows):
                raise TrainingError(f"no {pairing.name} pairs to {_PURPOSE[split]}: give more rows")
    return Pairs({kind: list(parts) for kind, parts in numbers.items()}, pairings, failures)


_PURPOSE = {
    Split.TRAIN: "train on",
    Split.VALIDATION: "decide by when to stop",
    Split.TEST: "report figures on",
}


def _number(parts: dict[Part, int], part: Part) -> int:
    """The number of a part; its role does not count, so that equal texts are one."""
    return parts.setdefault(Part("", part.modality, part.path, part.text), len(parts))


def _groups(items: Sequence[Item], column: str | None) -> list[int]:
    """For each item the number of its group: union of those that share a file or a value."""
    parent = list(range(len(items)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    first: dict[object, int] = {}
    for number, item in enumerate(items):
        keys: list[object] = [part.path for part in item.parts if part.path]
        if column is not None:
            if column not in item.columns:
                raise UsageError(f"{item.source}: row {item.row} has no column {column!r}")
            keys.append((column, item.columns[column]))
        for key in keys:
            parent[root(number)] = root(first.setdefault(key, number))
    return [root(number) for number in range(len(items))]


def _splits(items: Sequence[Item], groups: Sequence[int], seed: int) -> list[Split]:
    """For each item its split: what its row says, else by lot for its whole group."""
    drawn = _draw(groups, seed)
    given = [str(item.columns.get("split") or "").lower() for item in items]
    unknown = sorted(set(given) - set(_NAMES) - {""})
    if unknown:
        raise UsageError(f"split {unknown[0]!r}: a split is one of {', '.join(_NAMES)}")
    return [
        _NAMES[name] if name else drawn[group] for name, group in zip(given, groups, strict=True)
    ]


def _draw(groups: Iterable[int], seed: int) -> dict[int, Split]:
    every = sorted(set(groups))
    order = np.random.default_rng([seed, 20]).permutation(len(every))
    held = max(1, round(HELD_OUT * len(every)))
    found = dict.fromkeys(every, Split.TRAIN)
    found |= {every[at]: Split.TEST for at in order[:held]}
    return found | {every[at]: Split.VALIDATION for at in order[held : 2 * held]}
