"""A convolutional tower ready to embed: loaded once, on first use, by whichever thread comes."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode.mini.weights import read_shape, read_tensors
from mmsearch.records import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

    from mmsearch.encode.mini.towers import Tower


class Network:
    """A tower of the weights file; torch is imported when it first embeds."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path, self._prefix = path, prefix
        self._tower: Tower | None = None
        self._lock = Lock()

    def __call__(self, batch: NDArray[Any], to_input: Callable[["Tensor"], "Tensor"]) -> FloatArray:
        """Embed a batch: (n, 256) float32, L2-normalised rows."""
        import torch

        tower = self._loaded()
        with torch.inference_mode():
            return np.asarray(tower(to_input(torch.from_numpy(batch))).numpy(), np.float32)

    def _loaded(self) -> "Tower":
        with self._lock:
            if self._tower is None:
                self._tower = self._load()
            return self._tower

    def _load(self) -> "Tower":
        import torch

        from mmsearch.encode.mini.towers import build, fold

        tower = build(read_shape(self._prefix, self._path))
        arrays = read_tensors(f"{self._prefix}.", self._path)
        # copied: safetensors gives read-only arrays, which torch warns about
        state = {name: torch.tensor(array) for name, array in arrays.items()}
        tower.load_state_dict({**tower.state_dict(), **state})
        return fold(tower)
