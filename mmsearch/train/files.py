"""Files between the stages of a training."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.whole import written_whole

OWN = {"training", "features", "prepared", "teacher", "model.json"}
"""What a training writes into its model's folder first."""


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays to an .npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write one array to an .npy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def model_folder(path: Path) -> None:
    """Make the folder of a new model, or find it as an earlier run has left it.

    Raises:
        UsageError: It cannot be made, or holds other files.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {found.name for found in path.iterdir()}
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror or error}") from error
    if names and not names & OWN:
        raise UsageError(f"{path}: holds other files; name a new folder")


@lru_cache(maxsize=512)
def mapped(path: str) -> NDArray[Any]:
    """Map an .npy file into memory; so many at a time, for each takes one of a process's files."""
    rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows


def save_report(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``report.json`` into a model's folder."""
    text = json.dumps(content, indent=1)  # paths need not be UTF-8
    with written_whole(folder / "report.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
