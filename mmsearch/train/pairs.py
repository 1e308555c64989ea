"""What goes together: the pairs of parts in manifests."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.errors import TrainingError, UsageError
from mmsearch.records import Failure, Item, Modality, Part
from mmsearch.sources import find_items
from mmsearch.train.splits import Split, splits

KEY_BITS = 32


@dataclass(frozen=True)
class Pairing:
    """The pairs of two modalities.

    Attributes:
        left: The one modality.
        right: The other.
        rows: (n, 2) int64, the numbers of the two parts in their modalities' lists.
        splits: (n,) of :class:`Split` values.
        known: (m,) int64, all pairs that there are, of which these are some: left << 32 | right,
            ascending.
    """

    left: Modality
    right: Modality
    rows: NDArray[np.int64]
    splits: NDArray[np.str_]
    known: NDArray[np.int64]

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
        return replace(self, rows=self.rows[chosen], splits=self.splits[chosen])

    def readable(self, usable: Mapping[Modality, NDArray[np.bool_]]) -> "Pairing":
        """The pairs whose parts could both be read.

        Args:
            usable: For each modality, whether each of its parts could.
        """
        left, right = usable[self.left], usable[self.right]
        return self.take(np.flatnonzero(left[self.rows[:, 0]] & right[self.rows[:, 1]]))

    def fits(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which parts fit, by all pairs that are known: (lefts, rights).

        Args:
            left: Numbers of left parts, ascending.
            right: Numbers of right parts, ascending.
        """
        start, stop = np.searchsorted(self.known, [left << KEY_BITS, (left + 1) << KEY_BITS])
        spans = [np.arange(one, other) for one, other in zip(start, stop, strict=True)]
        partners = self.known[np.concatenate(spans)] & ((1 << KEY_BITS) - 1)
        rows = np.repeat(np.arange(len(left)), stop - start)
        there = np.isin(partners, right)
        found = np.zeros((len(left), len(right)), bool)
        found[rows[there], np.searchsorted(right, partners[there])] = True
        return found

    def same(self) -> Tensor:
        """(n, n) bool: which right part fits which left part."""
        left, right = self.members
        fits = self.fits(left, right)
        rows, columns = self.rows.T
        found = fits[np.searchsorted(left, rows)[:, None], np.searchsorted(right, columns)]
        return torch.from_numpy(found)


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

    What each item is for, :func:`mmsearch.train.splits.splits` says.

    Args:
        manifests: JSON lines or CSV files, as ``mmsearch index`` takes them, or folders of them.
        text_columns: Further columns that hold texts.
        group: A column whose equal values make one group: a recording, a photographer.
        seed: Of the split.
        change: What is done to every item first, such as cleaning its texts.

    Raises:
        UsageError: A manifest does not exist, or the rows' splits or groups make no sense.
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
    for column in text_columns:
        if items and not any(part.role == column for item in items for part in item.parts):
            raise UsageError(f"text column {column!r}: no row has this column")
    if not items:
        raise TrainingError(
            f"{', '.join(paths)}: no row has parts of two modalities, such as image and text"
        )
    return _collect(items, splits(items, group, seed), failures)


def _collect(
    items: Sequence[Item], purposes: Sequence[Split], failures: Sequence[Failure]
) -> Pairs:
    numbers: dict[Modality, dict[Part, int]] = {}
    found: dict[tuple[Modality, Modality], list[tuple[int, int, int]]] = {}
    for number, item in enumerate(items):
        for one, other in combinations(item.parts, 2):
            left, right = sorted((one, other), key=lambda part: part.modality)
            if left.modality is right.modality:
                continue
            row = [_number(numbers.setdefault(p.modality, {}), p) for p in (left, right)]
            found.setdefault((left.modality, right.modality), []).append((row[0], row[1], number))
    pairings = [_pairing(*kind, np.array(rows, np.int64), purposes) for kind, rows in found.items()]
    for pairing in pairings:
        for split in Split:
            if not len(pairing.of(split).rows):
                raise TrainingError(
                    f"no {pairing.name} pairs to {_PURPOSE[split]}: give more rows, or other splits"
                )
    return Pairs({kind: list(parts) for kind, parts in numbers.items()}, pairings, failures)


def _pairing(
    left: Modality, right: Modality, rows: NDArray[np.int64], purposes: Sequence[Split]
) -> Pairing:
    """A pairing of rows of a left part, a right part and their item."""
    splits = np.array([purposes[item].value for item in rows[:, 2]])
    known = np.unique(rows[:, 0] << KEY_BITS | rows[:, 1])
    return Pairing(left, right, rows[:, :2], splits, known)


_PURPOSE = {
    Split.TRAIN: "train on",
    Split.VALIDATION: "decide by when to stop",
    Split.TEST: "report figures on",
}


def _number(parts: dict[Part, int], part: Part) -> int:
    """The number of a part; its role does not count, so that equal texts are one."""
    return parts.setdefault(Part("", part.modality, part.path, part.text), len(parts))
