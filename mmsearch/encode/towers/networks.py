"""Towers by their shape, what goes into them, and how they embed: loaded once, on first use."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.encode.compute import Compute
from mmsearch.encode.torch_ import load_error
from mmsearch.encode.towers.attention import VitTower
from mmsearch.encode.towers.convolution import Tower, fold
from mmsearch.encode.towers.features import cepstrum
from mmsearch.encode.towers.shapes import (
    Convolution,
    Design,
    Gru,
    SoundFeatures,
    Transformer,
    Vit,
)
from mmsearch.encode.towers.weights import COUNTER, Weights
from mmsearch.encode.towers.words import GruTower, TransformerTower
from mmsearch.records import FloatArray, Modality


def build(design: Design, modality: Modality) -> nn.Module:
    """An untrained tower of a design; a token table is none of torch's."""
    shape = design.towers[modality]
    if isinstance(shape, Convolution):
        return convolution(shape, design.dim)
    if isinstance(shape, Vit):
        return VitTower(shape, design.side, design.dim)
    if isinstance(shape, Gru):
        return GruTower(shape, design.dim)
    assert isinstance(shape, Transformer)
    return TransformerTower(shape, design.dim)


def convolution(shape: Convolution, dim: int) -> Tower:
    """An untrained convolutional tower."""
    tower = Tower(shape, dim)
    tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return tower


def image_input(pixels: Tensor) -> Tensor:
    """(n, side, side, 3) uint8 to (n, 3, side, side) float32 within -1 to 1, channels last."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0


def audio_input(mels: Tensor, sound: SoundFeatures) -> Tensor:
    """(n, 64, frames) log-mels to (n, 1, 64, frames) float32, or (n, 1, 40, frames) of MFCC."""
    x = mels.to(torch.float32)
    if sound is SoundFeatures.MFCC:
        x = torch.from_numpy(cepstrum()).to(x.device) @ x
    return x[:, None].contiguous(memory_format=torch.channels_last)


def input_of(design: Design, modality: Modality) -> Callable[..., Any]:
    """What turns the tensors of prepared samples into a tower's input."""
    if modality is Modality.IMAGE:
        return image_input
    if modality is Modality.AUDIO:
        return partial(audio_input, sound=design.sound)
    return lambda ids, starts: (ids, starts)


class Network:
    """The trained tower of one modality on its device, ready to embed."""

    def __init__(self, weights: Weights, modality: Modality, compute: Compute) -> None:
        design = weights.design()
        tower = build(design, modality)
        arrays = weights.arrays(f"{modality}.")
        # copied: safetensors gives read-only arrays, which torch warns about
        state = {name: torch.tensor(array) for name, array in arrays.items()}
        state |= {key: value for key, value in tower.state_dict().items() if key.endswith(COUNTER)}
        try:
            tower.load_state_dict(state)
        except RuntimeError as error:  # a tensor is missing, too many, or of another shape
            raise load_error(weights.path, error) from error
        self._compute = compute
        self._tower = compute.place(fold(tower) if isinstance(tower, Tower) else tower)
        self._to_input = input_of(design, modality)

    def __call__(self, *arrays: NDArray[Any]) -> FloatArray:
        """Embed a batch of prepared samples: (n, dim) float32, L2-normalised rows."""
        return self._run(self._tower, arrays)

    def places(self, *arrays: NDArray[Any]) -> FloatArray:
        """What the last layer says of each place of a batch: (n, places, width) float32."""
        return self._run(self._tower.places, arrays)

    def maps(self, *arrays: NDArray[Any]) -> FloatArray:
        """Embed each place of a batch of pictures: (n, rows, columns, dim) float32, unit length."""
        return self._run(self._tower.maps, arrays)

    def _run(self, work: Callable[[Any], Tensor], arrays: Sequence[NDArray[Any]]) -> FloatArray:
        tensors = map(self._compute.tensor, arrays)
        with self._compute.inference():
            found = work(self._to_input(*tensors)).float()
        return np.asarray(found.cpu().numpy(), np.float32)
