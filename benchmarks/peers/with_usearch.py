"""usearch: HNSW on vectors in half precision or in bytes; the variant is the dtype."""

from pathlib import Path
from typing import Any

import usearch.index  # type: ignore[import-not-found]
from peer import Built, FloatArray, K, Peer, RowArray, Setting, main

CONNECTIVITY, EXPANSION_ADD = 16, 128
"""USearch's defaults, and what its own benchmarks use (BENCHMARKS.md, "Hyper-parameters")."""


class Usearch(Peer):
    """An index of inner products, loaded into memory."""

    def build(self, folder: Path) -> Built:
        """Add all vectors."""
        base = self.base()
        index = usearch.index.Index(
            ndim=base.shape[1],
            metric="ip",
            dtype=self.variant,
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
        )
        for rows, block in self.blocks():
            index.add(rows, block, threads=self.cores)
        index.save(str(folder / "index.usearch"))
        return Built(f"HNSW {self.variant}, connectivity {CONNECTIVITY}, add {EXPANSION_ADD}")

    def open(self, folder: Path) -> None:
        """Load it."""
        self._index: Any = usearch.index.Index.restore(str(folder / "index.usearch"))

    def curves(self) -> list[list[Setting]]:
        """Turn expansion_search up from its default."""
        tried = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
        return [[{"expansion_search": n} for n in tried]]

    def set(self, setting: Setting) -> None:
        """Search so widely."""
        self._index.expansion_search = setting["expansion_search"]

    def one(self, query: FloatArray) -> Any:
        """Ask once."""
        return self._index.search(query, K, threads=1)

    def many(self, queries: FloatArray) -> Any:
        """Ask all."""
        return self._index.search(queries, K, threads=self.cores)

    def rows(self, answers: Any) -> RowArray:
        """Keys are row numbers."""
        return answers.keys.astype("int64")  # type: ignore[no-any-return]


if __name__ == "__main__":
    main(Usearch)
