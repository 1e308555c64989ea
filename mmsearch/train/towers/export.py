"""From trained towers to a weights file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from mmsearch.encode.towers.shapes import Design
from mmsearch.encode.towers.weights import COUNTER, write
from mmsearch.errors import TrainingError
from mmsearch.records import FloatArray, Modality
from mmsearch.train.towers.words import TokenTable


def export(
    path: Path, design: Design, towers: Mapping[Modality, nn.Module], tokenizer: Tokenizer | None
) -> None:
    """Write trained towers as one weights file.

    Args:
        path: Where.
        design: What they are.
        towers: By modality; networks in float16 from now on, a token table in an eighth of its
            bits, of which only the rows' ratios count.
        tokenizer: The vocabulary; ``None`` without texts.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for modality, tower in towers.items():
        if isinstance(tower, TokenTable):
            rows = tower.rows.detach().cpu().numpy()
            arrays["text.table"], arrays["text.scale"] = eighth(rows)
            continue
        for key, value in tower.state_dict().items():
            if not key.endswith(COUNTER):
                array = value.contiguous().cpu().numpy()
                arrays[f"{modality}.{key}"] = array.astype(np.float16)
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise TrainingError(f"{broken[0]} holds values that are no numbers: the training diverged")
    write(path, design, tokenizer.to_str() if tokenizer else "", arrays)


def eighth(rows: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Rows as whole numbers of -127 to 127, each row with its own scale: a cosine of 0.9999."""
    # a largest scale of 1 is where float16 is precise
    largest = np.maximum(np.abs(rows).max(axis=1), 1e-12)
    scale = (largest / largest.max()).astype(np.float16)
    return np.rint(rows / largest[:, None] * 127).astype(np.int8), scale
