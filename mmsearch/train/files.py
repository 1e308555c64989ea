"""Files between the stages: written whole or not at all, so that a kill leaves no half of one."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays to an .npz file through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    temporary.replace(path)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write one array to an .npy file through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    temporary.replace(path)
