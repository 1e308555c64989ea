"""The embedded model: one space for text, image and audio, shipped in the package."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from mmsearch.encode import towers
from mmsearch.encode.base import Model
from mmsearch.encode.compute import Compute

NAME = "mini-2"
DIM = 256
WEIGHTS = Path(__file__).with_name(f"{NAME}.safetensors")


def load(compute: Compute) -> Model:
    """The model ``mini``: one space, three encoders; imports no torch.

    Its networks are so small that they run on the CPU, unless a device is named.
    """
    return towers.model("mini", _weights(), replace(compute, name=compute.name or "cpu"))


@cache
def _weights() -> towers.Weights:
    """Read once a process, however many indexes are opened."""
    return towers.Weights(WEIGHTS, NAME)
