"""Which rows of a field may come back."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.store.once import computed_once


class Selection:
    """Rows of a field; immutable, so searches of one commit share it."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        """Count the rows of a (rows,) bool mask."""
        self.mask = mask
        self.count = int(np.count_nonzero(mask))
        self._bits: dict[tuple[int, int], NDArray[np.uint8]] = {}

    @computed_once
    def rows(self) -> NDArray[np.int64]:
        """Their numbers, ascending."""
        return np.flatnonzero(self.mask)

    def bits(self, start: int, stop: int) -> NDArray[np.uint8] | None:
        """Return a bit for each row from one up to another, the lowest of a byte first.

        None where all rows of the field may come back.
        """
        if self.count == len(self.mask):
            return None
        if (start, stop) not in self._bits:
            self._bits[start, stop] = np.packbits(self.mask[start:stop], bitorder="little")
        return self._bits[start, stop]
