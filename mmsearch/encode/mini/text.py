"""The text tower: the mean of token vectors, in NumPy."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.config import InputLimits
from mmsearch.encode.mini.weights import WEIGHTS, read_tensors, read_vocabulary, space
from mmsearch.records import FloatArray, Modality, Space

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN = 0
"""Row of the table that stands for a piece outside the vocabulary, and for an empty text."""


class TextEncoder:
    """Embeds texts as the mean of their tokens' vectors; needs no torch.

    How much a token counts is the length of its row, learned with its direction.
    """

    modality = Modality.TEXT
    batch_size = 256

    def __init__(self, path: Path = WEIGHTS) -> None:
        self._path = path
        self.limits = InputLimits()

    @property
    def space(self) -> Space:
        """The space ``mini-1``."""
        return space(self._path)

    def fits(self, text: str) -> bool:
        """Every token of a text of any length counts."""
        return True

    def prepare(self, decoded: str) -> NDArray[np.int64]:
        """Token ids of a text, at least one: (n,) int64."""
        ids = self._tokenizer.encode(decoded, add_special_tokens=False).ids
        return np.array(ids or [UNKNOWN], np.int64)

    def encode(self, prepared: Sequence[NDArray[np.int64]]) -> FloatArray:
        """Embed token ids: (n, 256) float32, L2-normalised rows."""
        if not prepared:
            return np.zeros((0, self.space.dim), np.float32)
        starts = np.cumsum([0] + [len(ids) for ids in prepared[:-1]])
        ids = np.concatenate(prepared)
        table, scale = self._table
        rows = table[ids] * scale[ids, None].astype(np.float32)
        sums = np.add.reduceat(rows, starts, axis=0)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(read_vocabulary(self._path))

    @cached_property
    def _table(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Whole numbers (vocabulary, 256) int8, and what each row is multiplied with, float16."""
        arrays = read_tensors("text.", self._path)
        table = arrays["table"]
        return table, arrays.get("scale", np.ones(len(table), np.float16))
