"""mmsearch: IVF-PQ, with candidates scored again on the float16 vectors, through its own API."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peer import Built, K, Peer, RowArray, Setting, main

import mmsearch
from mmsearch import Modality, Model, Space
from mmsearch.config import InputLimits
from mmsearch.engine import opening, probes
from mmsearch.records import FloatArray
from mmsearch.search.effort import Effort
from mmsearch.search.tuning import REACHES
from mmsearch.store.faiss_ import load_faiss

TARGET = 0.95
LOADED = (opening, load_faiss())
"""What a first search would load otherwise: no memory of the index's."""


class Embedded:
    """Stands for encoders that have embedded everything elsewhere; a text is a row's number."""

    limits = InputLimits()
    batch_size = 1000

    def __init__(self, modality: Modality, vectors: FloatArray) -> None:
        self.modality, self._vectors = modality, vectors
        self.space = Space("visual", vectors.shape[1], True, "benchmark", "0" * 64)

    def fits(self, text: str) -> bool:
        """Never too long."""
        return True

    def prepare(self, decoded: str) -> FloatArray:
        """Look the vector up."""
        vector: FloatArray = self._vectors[int(decoded)]
        return vector

    def encode(self, prepared: Sequence[FloatArray]) -> FloatArray:
        """Stack them."""
        return np.stack(prepared)


class MMSearch(Peer):
    """An index of pictures' vectors."""

    def _model(self, *kinds: Modality) -> Model:
        asked = np.load(self.data / "tuning.npy", mmap_mode="r")
        return Model("benchmark", tuple(Embedded(kind, asked) for kind in kinds))

    def build(self, folder: Path) -> Built:
        """Add the vectors, and tune for other queries than those that are measured with."""
        texts = [str(row) for row in range(len(np.load(self.data / "tuning.npy", mmap_mode="r")))]
        # without a text encoder there is no bank, and no correction for hubs, which no peer has
        with mmsearch.create(folder, model=self._model(Modality.IMAGE)) as index:
            index.add_vectors(self.data / "vectors" / "base.npy")
        with mmsearch.open(folder, model=self._model(Modality.TEXT, Modality.IMAGE)) as index:
            started = time.perf_counter()
            tuned = [one.tuning for one in index.tune(TARGET, queries=texts) if one.tuning]
            seconds = time.perf_counter() - started
            (field,) = index.info().fields
        # a query that is a vector is searched for as thoroughly as the tunings say at the most
        most = max(tuned, key=lambda tuning: tuning.nprobe)
        depth = max(tuning.depth for tuning in tuned)
        own = {"nprobe": most.nprobe, "depth": depth, "reach": most.reach}
        return Built(f"{field.recipe}, float16", own, seconds)

    def open(self, folder: Path) -> None:
        """Open it."""
        self._index = mmsearch.open(folder, model=self._model(Modality.IMAGE))

    def curves(self) -> list[list[Setting]]:
        """Turn nprobe up, for each depth and reach."""
        tried = (16, 32, 64, 96, 128, 192, 256)
        return [
            [{"nprobe": n, "depth": depth, "reach": reach} for n in tried]
            for reach in REACHES
            for depth in (100, 200, 400, 800)
        ]

    def set(self, setting: Setting) -> None:
        """Search so. The API has tuning, but nothing to give an effort by: it is put in place."""
        effort = Effort(**setting)
        probes.effort = lambda field, asked: effort  # type: ignore[attr-defined]

    def one(self, query: FloatArray) -> Any:
        """Ask once."""
        return self._index.search(vector=query, target="image", k=K)

    def many(self, queries: FloatArray) -> Any:
        """Ask all."""
        return self._index.search_many(vectors=queries, target="image", k=K)

    def rows(self, answers: Any) -> RowArray:
        """Rows of a file are numbered from 1."""
        return np.array([[int(hit.item.row) - 1 for hit in hits] for hits in answers])


if __name__ == "__main__":
    main(MMSearch)
