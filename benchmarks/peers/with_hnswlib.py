"""hnswlib: HNSW on float32 vectors."""

from pathlib import Path
from typing import Any

import hnswlib  # type: ignore[import-untyped]
from peer import Built, FloatArray, K, Peer, RowArray, Setting, main

M, EF_CONSTRUCTION = 16, 200
"""Those of the README's examples; ALGO_PARAMS.md calls M of 12 to 48 right for most uses."""


class Hnswlib(Peer):
    """An index of inner products."""

    def build(self, folder: Path) -> Built:
        """Add all vectors."""
        base = self.base()
        index = hnswlib.Index(space="ip", dim=base.shape[1])
        index.init_index(max_elements=len(base), M=M, ef_construction=EF_CONSTRUCTION)
        for rows, block in self.blocks():
            index.add_items(block, rows, num_threads=self.cores)
        index.save_index(str(folder / "index.hnswlib"))
        return Built(f"HNSW float32, M {M}, ef_construction {EF_CONSTRUCTION}")

    def open(self, folder: Path) -> None:
        """Load it."""
        self._index: Any = hnswlib.Index(space="ip", dim=self.base().shape[1])
        self._index.load_index(str(folder / "index.hnswlib"))

    def curves(self) -> list[list[Setting]]:
        """Turn ef up."""
        return [[{"ef": n} for n in (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)]]

    def set(self, setting: Setting) -> None:
        """Search so widely."""
        self._index.set_ef(setting["ef"])

    def one(self, query: FloatArray) -> Any:
        """Ask once."""
        return self._index.knn_query(query, K, num_threads=1)

    def many(self, queries: FloatArray) -> Any:
        """Ask all."""
        return self._index.knn_query(queries, K, num_threads=self.cores)

    def rows(self, answers: Any) -> RowArray:
        """Labels are row numbers."""
        return answers[0].astype("int64")  # type: ignore[no-any-return]


if __name__ == "__main__":
    main(Hnswlib)
