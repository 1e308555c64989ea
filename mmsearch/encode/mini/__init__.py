"""The embedded model: one space for text, image and audio, shipped in the package."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from mmsearch.encode import towers
from mmsearch.encode.base import Model
from mmsearch.encode.compute import Compute
from mmsearch.encode.towers.shapes import Convolution, Design, Stage, Table
from mmsearch.records import Modality

NAME = "mini-1"
DIM = 256
WEIGHTS = Path(__file__).with_name(f"{NAME}.safetensors")

DESIGN = Design(
    NAME,
    DIM,
    {
        Modality.TEXT: Table(),
        Modality.IMAGE: Convolution(3, 64, (Stage(128, 2), Stage(256, 2))),
        Modality.AUDIO: Convolution(1, 48, (Stage(96, 2), Stage(192, 2))),
    },
)
"""What the file of mini-1 holds, which does not say so itself."""


def load(compute: Compute) -> Model:
    """The model ``mini``: one space, three encoders; imports no torch.

    Its networks are so small that they run on the CPU, unless a device is named.
    """
    return towers.model("mini", _weights(), replace(compute, name=compute.name or "cpu"))


@cache
def _weights() -> towers.Weights:
    """Read once a process, however many indexes are opened."""
    return towers.Weights(WEIGHTS, NAME, DESIGN)
