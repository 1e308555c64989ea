"""The weights file: what the stages trained, small, with the vocabulary."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmsearch.encode.mini.shapes import Shape
from mmsearch.encode.mini.towers import Tower
from mmsearch.encode.mini.weights import write
from mmsearch.records import FloatArray


def export(
    path: Path,
    tokenizer: Tokenizer,
    rows: FloatArray,
    towers: dict[str, Tower],
    shapes: dict[str, Shape],
) -> None:
    """Write the trained table and towers as one weights file.

    Args:
        path: Where.
        tokenizer: The vocabulary.
        rows: (vocabulary, 256), the token vectors; only their ratios count.
        towers: By name, in float16 from now on.
        shapes: Theirs.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, tower in towers.items():
        for key, value in tower.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                arrays[f"{name}.{key}"] = value.contiguous().numpy().astype(np.float16)
    arrays["text.table"], arrays["text.scale"] = eighth(rows)
    write(path, tokenizer.to_str(), arrays, shapes)


def eighth(rows: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Rows as whole numbers of -127 to 127, each row with its own scale: a cosine of 0.9999."""
    # a largest scale of 1 is where float16 is precise
    largest = np.maximum(np.abs(rows).max(axis=1), 1e-12)
    scale = (largest / largest.max()).astype(np.float16)
    return np.rint(rows / largest[:, None] * 127).astype(np.int8), scale
