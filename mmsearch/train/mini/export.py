"""The weights file: what the stages trained, in float16, with the vocabulary."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmsearch.encode.mini.towers import Tower
from mmsearch.encode.mini.weights import write
from mmsearch.train.text import TokenTable


def export(path: Path, tokenizer: Tokenizer, table: TokenTable, towers: dict[str, Tower]) -> None:
    """Write the trained table and towers as one weights file."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, tower in towers.items():
        for key, value in tower.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                arrays[f"{name}.{key}"] = value.contiguous().numpy().astype(np.float16)
    # a largest entry of 1 is where float16 is precise; only the rows' ratios count
    rows = table.rows.detach().numpy()
    write(path, tokenizer.to_str(), (rows / np.abs(rows).max()).astype(np.float16), arrays)
