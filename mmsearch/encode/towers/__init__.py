"""Compact towers, one for each modality, that share a space: ``mini`` and what training makes.

A folder that ``mmsearch train towers`` has written holds ``weights.safetensors``, which says all of
itself: kinds, sizes and inputs of the towers, and the vocabulary.
"""

from pathlib import Path

from mmsearch.encode.base import Encoder, Model
from mmsearch.encode.compute import Compute
from mmsearch.encode.towers.encoders import (
    AudioEncoder,
    ImageEncoder,
    SequenceEncoder,
    TableEncoder,
)
from mmsearch.encode.towers.shapes import Table
from mmsearch.encode.towers.weights import Weights
from mmsearch.records import Modality

__all__ = ["KIND", "WEIGHTS", "Weights", "load", "model"]

KIND = "towers"
WEIGHTS = "weights.safetensors"


def load(folder: Path, compute: Compute) -> Model:
    """The model of a folder that training has written."""
    return model(str(folder), Weights(folder / WEIGHTS, str(folder)), compute)


def model(name: str, weights: Weights, compute: Compute) -> Model:
    """The model of a weights file; imports no torch."""
    towers = weights.design().towers
    encoders: list[Encoder] = []
    if Modality.TEXT in towers:
        table = isinstance(towers[Modality.TEXT], Table)
        encoders.append((TableEncoder if table else SequenceEncoder)(weights, compute))
    if Modality.IMAGE in towers:
        encoders.append(ImageEncoder(weights, compute))
    if Modality.AUDIO in towers:
        encoders.append(AudioEncoder(weights, compute))
    return Model(name, tuple(encoders))
