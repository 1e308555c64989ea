"""How fields are searched: as asked, by their size, or within a budget of memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from mmsearch.store.manifest import EXACT, FieldInfo, Manifest
from mmsearch.store.recipes import (
    choose_recipe,
    code_sizes,
    form_of,
    rows_to_train,
    with_lists,
)

EXACT_ROWS = 50_000
"""Up to here an exact search is a few milliseconds and 50 to 200 MB of float32."""
OUTGROWN = 8
"""A codebook is trained anew when its field has grown by this factor."""
MARK_BYTES = 18
"""Of a vector in memory beside its code: FAISS's id, the chunk's id, and marks."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides how the fields of an index are searched.

    Attributes:
        recipe: The FAISS factory string that the user asked for; ``None``: chosen by size.
        dimension_bytes: What each dimension of a vector may take in memory, with a budget.
    """

    recipe: str | None
    dimension_bytes: float | None = None

    @classmethod
    def of(cls, manifest: Manifest, fields: Sequence[FieldInfo]) -> "Plan":
        """Share out an index's budget, if it has one, by rows and dimensions of these fields."""
        if manifest.memory_bytes is None:
            return cls(manifest.recipe)
        return cls(None, manifest.memory_bytes / max(1, _dimensions(fields)))

    def recipe_of(self, info: FieldInfo) -> str:
        """Return how a field of this size is to be searched."""
        asked = _chosen(info) or self.recipe
        if asked:
            return asked if info.rows >= rows_to_train(asked) else EXACT
        if not is_large(info):
            return EXACT
        return choose_recipe(info.rows, info.dim, self._code_bytes(info))

    def is_due(self, info: FieldInfo) -> bool:
        """Whether a field needs a codebook, or another than it has."""
        if info.codebook is None or _is_outgrown(info):
            return True
        limit, sizes = self._code_bytes(info), code_sizes(info.dim)
        size = sizes.get(form_of(info.recipe), info.dim)
        return limit is not None and size > max(limit, min(sizes.values()))

    def _code_bytes(self, info: FieldInfo) -> float | None:
        """What a code may take, with a budget."""
        if self.dimension_bytes is None:
            return None
        return self.dimension_bytes * info.dim - MARK_BYTES


def _chosen(info: FieldInfo) -> str | None:
    """Return the recipe that tuning chose, with other lists where its field has outgrown them."""
    if info.chosen is None or not _is_outgrown(info):
        return info.chosen
    return with_lists(form_of(info.chosen), info.rows)


def _is_outgrown(info: FieldInfo) -> bool:
    return info.rows >= OUTGROWN * info.trained_rows


def is_large(info: FieldInfo) -> bool:
    """Whether an exact search of a field takes too long."""
    return info.rows >= EXACT_ROWS


def needed_bytes(fields: Sequence[FieldInfo]) -> int:
    """Return the least budget whose shares hold the smallest codes of all fields that have some."""
    shares = [
        (min(code_sizes(info.dim).values()) + MARK_BYTES) / info.dim
        for info in fields
        if is_large(info)
    ]
    return ceil(max(shares, default=0) * _dimensions(fields))


def _dimensions(fields: Sequence[FieldInfo]) -> int:
    return sum(info.rows * info.dim for info in fields)
