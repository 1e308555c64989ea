"""The weights file: what the stages trained, in float16, with the vocabulary."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmsearch.encode.mini.towers import Tower
from mmsearch.encode.mini.weights import write
from mmsearch.records import FloatArray


def export(path: Path, tokenizer: Tokenizer, rows: FloatArray, towers: dict[str, Tower]) -> None:
    """Write the trained table and towers as one weights file."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, tower in towers.items():
        for key, value in tower.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                arrays[f"{name}.{key}"] = value.contiguous().numpy().astype(np.float16)
    # rows are scaled to a largest entry of 1, where float16 is precise; their ratio is what counts
    table = (rows / np.abs(rows).max()).astype(np.float16)
    write(path, tokenizer.to_str(), table, arrays)
