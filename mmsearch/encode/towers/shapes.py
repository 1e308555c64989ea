"""What a model of towers is made of: kinds, sizes and inputs. Its weights file says all of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import ceil, prod
from typing import Any, TypeAlias

from mmsearch.records import Modality

PATCH = 4
"""Pixels of a side that the first layer of a convolutional tower takes as one."""


class ImageTower(StrEnum):
    """The networks for pictures; sounds have the convolutional one."""

    CONVOLUTION = "convolution"
    VIT = "vit"


class TextTower(StrEnum):
    """The networks for texts. A table needs no torch to embed."""

    TABLE = "table"
    GRU = "gru"
    TRANSFORMER = "transformer"


class SoundFeatures(StrEnum):
    """What the audio tower sees of a sound."""

    LOG_MEL = "log-mel"
    MFCC = "mfcc"


@dataclass(frozen=True)
class Stage:
    """Residual blocks of one width; the first of them may halve height and width."""

    width: int
    depth: int
    stride: int = 2


@dataclass(frozen=True)
class Convolution:
    """The size of a residual network.

    Attributes:
        channels: Of the input: 3 for pictures, 1 for sounds.
        stem: Width of the first layer.
        stages: The residual blocks after it.
        hidden: Width of the head's hidden layer; 0 for a head of one layer.
    """

    channels: int
    stem: int
    stages: tuple[Stage, ...]
    hidden: int = 0

    @property
    def width(self) -> int:
        """Channels of the last feature map."""
        return self.stages[-1].width

    def reach(self, side: int) -> float:
        """What the places of the last feature map cover of a side; above 1 they hang over."""
        cell = PATCH * prod(stage.stride for stage in self.stages)
        return ceil(side / cell) * cell / side


@dataclass(frozen=True)
class Blocks:
    """The size of a stack of attention layers.

    Attributes:
        width: Of a position's vector.
        depth: Layers.
        heads: Of each layer's attention.
    """

    width: int
    depth: int
    heads: int


@dataclass(frozen=True)
class Vit:
    """The size of a vision transformer.

    Attributes:
        blocks: Its layers.
        patch: Pixels of a patch's side.
    """

    blocks: Blocks
    patch: int

    def reach(self, side: int) -> float:
        """What the patches cover of a side."""
        return side // self.patch * self.patch / side


@dataclass(frozen=True)
class Table:
    """A vector for each token; its size is the vocabulary's."""


@dataclass(frozen=True)
class Gru:
    """The size of a gated recurrent network that reads a text from both ends.

    Attributes:
        vocabulary: Tokens it knows.
        width: Of its state in each direction.
        tokens: It reads of a text.
    """

    vocabulary: int
    width: int
    tokens: int


@dataclass(frozen=True)
class Transformer:
    """The size of a transformer for texts.

    Attributes:
        blocks: Its layers.
        vocabulary: Tokens it knows.
        tokens: It reads of a text.
    """

    blocks: Blocks
    vocabulary: int
    tokens: int


TowerShape: TypeAlias = Convolution | Vit | Table | Gru | Transformer

_KINDS: Mapping[str, type[Any]] = {
    ImageTower.CONVOLUTION: Convolution,
    ImageTower.VIT: Vit,
    TextTower.TABLE: Table,
    TextTower.GRU: Gru,
    TextTower.TRANSFORMER: Transformer,
}


@dataclass(frozen=True)
class Design:
    """What a weights file holds.

    Attributes:
        name: Of the space.
        dim: Of the space.
        towers: By modality.
        side: Pixels of the square that pictures are squeezed to.
        sound: What the audio tower sees.
    """

    name: str
    dim: int
    towers: Mapping[Modality, TowerShape]
    side: int = 112
    sound: SoundFeatures = SoundFeatures.LOG_MEL

    @classmethod
    def read(cls, text: str) -> "Design":
        """The design that ``write`` has written."""
        found = json.loads(text)
        towers = {Modality(name): _read(shape) for name, shape in found["towers"].items()}
        return cls(**{**found, "towers": towers, "sound": SoundFeatures(found["sound"])})

    def write(self) -> str:
        """All of it as JSON."""
        towers = {str(modality): _written(shape) for modality, shape in self.towers.items()}
        return json.dumps({**asdict(self), "towers": towers})


def _written(shape: TowerShape) -> dict[str, Any]:
    kind = next(name for name, one in _KINDS.items() if isinstance(shape, one))
    return {"kind": kind, **asdict(shape)}


def _read(settings: Mapping[str, Any]) -> TowerShape:
    values = {name: value for name, value in settings.items() if name != "kind"}
    if "stages" in values:
        values["stages"] = tuple(Stage(**stage) for stage in values["stages"])
    if "blocks" in values:
        values["blocks"] = Blocks(**values["blocks"])
    shape: TowerShape = _KINDS[settings["kind"]](**values)
    return shape
