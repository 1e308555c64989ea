"""Files between the stages of a training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.whole import written_whole


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


def save_report(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``report.json`` into a model's folder."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    with written_whole(folder / "report.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
