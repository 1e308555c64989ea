"""autofaiss: it chooses a FAISS recipe by memory, and tunes the search by time.

The variant is the memory that the index may take, in bytes a vector; none is its default, 16 GB.
"""

import json
from pathlib import Path

import autofaiss  # type: ignore[import-not-found]
from peer import Built, Setting, main
from with_faiss import Faiss

DEFAULT_MEMORY = "16G"
MEMORY_AVAILABLE = "20G"
"""What the machine may take; autofaiss wants a tenth more than the index."""


class Autofaiss(Faiss):
    """What ``build_index`` makes of a folder of .npy files."""

    def build(self, folder: Path) -> Built:
        """Let it choose, train, add and tune; its bound of 10 ms a query stays as it is."""
        memory = f"{len(self.base()) * int(self.variant)}B" if self.variant else DEFAULT_MEMORY
        autofaiss.build_index(
            str(self.data / "vectors"),
            index_path=str(folder / "index.faiss"),
            index_infos_path=str(folder / "infos.json"),
            max_index_memory_usage=memory,
            current_memory_available=MEMORY_AVAILABLE,
            metric_type="ip",
            nb_cores=self.cores,
        )
        infos = json.loads((folder / "infos.json").read_text())
        knobs = (knob.split("=") for knob in infos["index_param"].split(","))
        return Built(infos["index_key"], {name: int(value) for name, value in knobs})

    def open(self, folder: Path) -> None:
        """Load it, and remember which knobs it has."""
        super().open(folder)
        self._key = json.loads((folder / "infos.json").read_text())["index_key"]

    def curves(self) -> list[list[Setting]]:
        """Turn the knob that autofaiss tunes."""
        if not self._key.startswith("OPQ"):
            return super().curves()
        tried = (16, 32, 64, 128, 256, 512)  # efSearch and ht as get_optimal_hyperparameters does
        graph = "_HNSW" in self._key
        return [
            [{"nprobe": n, **({"efSearch": 2 * n} if graph else {}), "ht": 2048} for n in tried]
        ]


if __name__ == "__main__":
    main(Autofaiss)
