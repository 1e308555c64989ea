"""Cleaning: texts in one form, labels as sentences, and no training on what is held out."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.records import ColumnValue, FloatArray, Item, Modality, Part

TEMPLATES = {Modality.IMAGE: "a photo of a {}", Modality.AUDIO: "the sound of a {}"}
"""What a label says of a picture (Radford et al. 2021, section 3.1.4) and of a sound."""

BLOCK = 4096


def clean_text(text: str) -> str:
    """A text in Unicode's composed form (NFC), without control characters and needless space."""
    composed = unicodedata.normalize("NFC", text)
    shown = (" " if unicodedata.category(char) == "Cc" else char for char in composed)
    return " ".join("".join(shown).split())


@dataclass(frozen=True)
class Cleaner:
    """Cleans the texts of items, and makes texts of labels.

    Attributes:
        label: Column that names what is seen or heard; ``None`` for none.
    """

    label: str | None

    def __call__(self, item: Item) -> Item:
        """The item with clean texts; the empty ones are left out, as long as anything is left."""
        parts = [_clean(part) for part in (*item.parts, *self._labels(item))]
        kept = tuple(part for part in parts if part.text != "")
        return replace(item, parts=kept) if kept else item

    def _labels(self, item: Item) -> Iterator[Part]:
        if self.label is None:
            return
        if self.label not in item.columns:
            raise UsageError(f"{item.source}: row {item.row} has no column {self.label!r}")
        kinds = {part.modality for part in item.parts}
        for name in _names(item.columns[self.label]):
            for template in (TEMPLATES[kind] for kind in TEMPLATES if kind in kinds):
                yield Part(self.label, Modality.TEXT, text=template.format(name))


def _clean(part: Part) -> Part:
    return part if part.text is None else replace(part, text=clean_text(part.text))


def _names(value: ColumnValue) -> list[str]:
    """The labels in a cell."""
    values = value if isinstance(value, tuple) else (value,)
    return [name for name in (clean_text(str(one)) for one in values if one is not None) if name]


def near_copies(marks: FloatArray, others: FloatArray, tolerance: float) -> NDArray[np.bool_]:
    """Which of the one are nearly the same as any of the others.

    Args:
        marks: (n, d), small images of what is compared.
        others: (m, d).
        tolerance: The highest root mean square of the differences that is nearly the same.

    Returns:
        (n,) bool.
    """
    found = np.zeros(len(marks), bool)
    limit = tolerance**2 * marks.shape[1]
    for at in range(0, len(marks), BLOCK):
        for start in range(0, len(others), BLOCK):
            one, other = marks[at : at + BLOCK], others[start : start + BLOCK]
            found[at : at + BLOCK] |= (_squared_distances(one, other) <= limit).any(axis=1)
    return found


def _squared_distances(one: FloatArray, other: FloatArray) -> NDArray[np.float64]:
    """(n, m), in float64: the difference of large squares is small here."""
    x, y = one.astype(np.float64), other.astype(np.float64)
    norms = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
    return np.asarray(norms - 2 * (x @ y.T))
