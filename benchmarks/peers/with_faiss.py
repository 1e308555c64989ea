"""FAISS: HNSW on bytes (an 8-bit scalar quantiser); its search serves autofaiss too."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from peer import Built, FloatArray, K, Peer, RowArray, Setting, main

RECIPE = "HNSW32_SQ8"
"""HNSW32 is the FAISS wiki's advice where memory suffices ("Guidelines to choose an index"); its
bytes take a quarter. efConstruction stays at FAISS's default, 40."""
_TRAINING_ROWS = 100_000
"""A byte's range is learnt from them."""


class Faiss(Peer):
    """A FAISS index in a file."""

    def build(self, folder: Path) -> Built:
        """Learn the ranges and add all vectors."""
        faiss.omp_set_num_threads(self.cores)
        base = self.base()
        index = faiss.index_factory(base.shape[1], RECIPE, faiss.METRIC_INNER_PRODUCT)
        index.train(np.asarray(base[:_TRAINING_ROWS], np.float32))
        for _, block in self.blocks():
            index.add(block)
        faiss.write_index(index, str(folder / "index.faiss"))
        return Built(RECIPE)

    def open(self, folder: Path) -> None:
        """Load it."""
        faiss.omp_set_num_threads(self.cores)
        self._index: Any = faiss.read_index(str(folder / "index.faiss"))
        self._knobs: Any = faiss.ParameterSpace()

    def curves(self) -> list[list[Setting]]:
        """Turn efSearch up from its default."""
        tried = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
        return [[{"efSearch": n} for n in tried]]

    def set(self, setting: Setting) -> None:
        """Search so widely."""
        self._knobs.set_index_parameters(
            self._index, ",".join(f"{k}={v}" for k, v in setting.items())
        )

    def one(self, query: FloatArray) -> Any:
        """Ask once."""
        return self._index.search(query[None], K)

    def many(self, queries: FloatArray) -> Any:
        """Ask all."""
        return self._index.search(queries, K)

    def rows(self, answers: Any) -> RowArray:
        """Ids are row numbers."""
        return answers[1]  # type: ignore[no-any-return]


if __name__ == "__main__":
    main(Faiss)
