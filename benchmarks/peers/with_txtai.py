"""txtai: the FAISS index that it makes by default, through its own ANN classes.

Only txtai, FAISS and NumPy are installed: vectors that are there need neither torch nor
transformers.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from peer import Built, FloatArray, K, Peer, RowArray, Setting, main
from txtai.ann import ANNFactory  # type: ignore[import-not-found]


class Txtai(Peer):
    """``IVFx,Flat`` beyond 5,000 vectors, x = min(4·√n, n / 39) (docs, "ANN", faiss)."""

    def build(self, folder: Path) -> Built:
        """Index with nothing configured; nprobe is x / 16 then."""
        faiss.omp_set_num_threads(self.cores)
        ann = self._new()
        ann.index(np.asarray(self.base(), np.float32))
        ann.save(str(folder / "index.faiss"))
        return Built(ann.config["build"]["settings"]["components"], {"nprobe": ann.nprobe()})

    def _new(self) -> Any:
        return ANNFactory.create({"backend": "faiss", "dimensions": self.base().shape[1]})

    def open(self, folder: Path) -> None:
        """Load it."""
        faiss.omp_set_num_threads(self.cores)
        self._ann = self._new()
        self._ann.load(str(folder / "index.faiss"))

    def curves(self) -> list[list[Setting]]:
        """Turn nprobe."""
        tried = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
        return [[{"nprobe": n} for n in tried]]

    def set(self, setting: Setting) -> None:
        """Look into so many lists."""
        self._ann.config["faiss"] = setting

    def one(self, query: FloatArray) -> Any:
        """Ask once."""
        return self._ann.search(query[None], K)

    def many(self, queries: FloatArray) -> Any:
        """Ask all."""
        return self._ann.search(queries, K)

    def rows(self, answers: Any) -> RowArray:
        """Ids are row numbers."""
        return np.array([[row for row, _ in answer] for answer in answers])


if __name__ == "__main__":
    main(Txtai)
