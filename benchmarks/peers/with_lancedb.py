"""LanceDB: IVF_PQ, with candidates scored again on the float32 vectors of the table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb  # type: ignore[import-not-found]
import numpy as np
import pyarrow as pa
from lancedb.index import IvfPq  # type: ignore[import-not-found]
from peer import Built, FloatArray, K, Peer, RowArray, Setting, main

ROWS_A_PARTITION, DIMENSIONS_A_CODE = 4096, 8
"""``num_partitions`` and ``num_sub_vectors`` as recommended (docs, "Vector Indexes")."""
METRIC = "dot"


class LanceDB(Peer):
    """A table of row numbers and vectors.

    They are float32, LanceDB's usual type: training on float16 ones had not ended after twice the
    time that all of it took.
    """

    def build(self, folder: Path) -> Built:
        """Write the table and index it."""
        dim = self.base().shape[1]
        schema = pa.schema({"id": pa.int64(), "vector": pa.list_(pa.float32(), dim)})
        table = lancedb.connect(folder).create_table("vectors", self._batches(schema), schema)
        recipe = IvfPq(
            distance_type=METRIC,
            num_partitions=max(1, len(self.base()) // ROWS_A_PARTITION),
            num_sub_vectors=dim // DIMENSIONS_A_CODE,
        )
        table.create_index("vector", config=recipe)
        said = f"IVF_PQ, {recipe.num_partitions} partitions, {recipe.num_sub_vectors} sub-vectors"
        return Built(f"{said}, float32", {"refine_factor": 10})

    def _batches(self, schema: Any) -> Iterator[Any]:
        for rows, block in self.blocks():
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), block.shape[1])
            yield pa.RecordBatch.from_arrays([pa.array(rows), vectors], schema=schema)

    def open(self, folder: Path) -> None:
        """Open the table; its index is read when it is first searched."""
        self._table = lancedb.connect(folder).open_table("vectors")

    def curves(self) -> list[list[Setting]]:
        """Raise nprobes where what is found is not enough, as the docs advise, for each depth."""
        partitions = max(1, len(self.base()) // ROWS_A_PARTITION)
        tried = [n for n in (2, 4, 8, 16, 32, 64, 128, 256) if n < 2 * partitions]
        return [
            [{"nprobes": min(n, partitions), "refine_factor": factor} for n in tried]
            for factor in (10, 20, 50)
        ]

    def set(self, setting: Setting) -> None:
        """Search so; without nprobes LanceDB chooses it."""
        self._setting = setting

    def one(self, query: FloatArray) -> Any:
        """Ask for row numbers and distances, once."""
        asked = self._table.search(query).distance_type(METRIC).limit(K)
        asked = asked.select(["id", "_distance"]).refine_factor(self._setting["refine_factor"])
        if "nprobes" in self._setting:
            asked = asked.nprobes(self._setting["nprobes"])
        return asked.to_arrow()

    def many(self, queries: FloatArray) -> Any:
        """Ask all; a row of the answer names its query."""
        return self.one(queries)

    def rows(self, answers: Any) -> RowArray:
        """Gather what was found for each query; -1 where there is less."""
        asked, ids = (answers[name].to_numpy() for name in ("query_index", "id"))
        found = np.full((asked.max() + 1, K), -1)
        order = np.argsort(asked, kind="stable")
        places = np.arange(len(asked)) - np.searchsorted(asked[order], asked[order])
        found[asked[order], places] = ids[order]
        return found


if __name__ == "__main__":
    main(LanceDB)
