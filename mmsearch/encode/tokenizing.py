"""What the adapters of transformers' checkpoints share about texts."""

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tokenizer:
    """A tokenizer of transformers, usable from several threads.

    A tokenizer keeps the last call's truncation: unlocked, one text in six came out wrong.
    https://github.com/huggingface/tokenizers/issues/537

    Attributes:
        lock: For others who use it, too.
        pad_id: The number of the token that fills up.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.lock = Lock()
        self.pad_id = int(tokenizer.pad_token_id)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of every token."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def ids(self, text: str, most: int | None = None) -> "NDArray[np.int64]":
        """A text's token numbers, special ones included: (n,) int64, cut to ``most`` or whole."""
        with self.lock:
            encoded = self._tokenizer(
                text, truncation=most is not None, max_length=most, verbose=False
            )
        return np.array(encoded.input_ids, np.int64)


def padded(
    rows: "Sequence[NDArray[np.int64]]", fill: int
) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """Token numbers of n texts as (n, longest), and 1 where there is something."""
    longest = max(len(row) for row in rows)
    found = np.full((len(rows), longest), fill, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for at, row in enumerate(rows):
        found[at, : len(row)], mask[at, : len(row)] = row, 1
    return found, mask
