"""The sizes of mini's towers; a weights file says which its own have."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """Residual blocks of one width; the first of them may halve height and width."""

    width: int
    depth: int
    stride: int = 2


@dataclass(frozen=True)
class Shape:
    """The size of a convolutional tower.

    Attributes:
        channels: Of the input: 3 for pictures, 1 for spectrograms.
        stem: Width of the first layer.
        stages: The residual blocks after it.
        hidden: Width of the head's hidden layer; 0 for a head of one layer.
    """

    channels: int
    stem: int
    stages: tuple[Stage, ...]
    hidden: int = 0

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "Shape":
        """The shape that ``settings`` has written."""
        stages = tuple(Stage(**stage) for stage in settings["stages"])
        return cls(**{**settings, "stages": stages})

    @property
    def settings(self) -> dict[str, Any]:
        """All of it, in terms of JSON."""
        return asdict(self)

    @property
    def width(self) -> int:
        """Channels of the last feature map."""
        return self.stages[-1].width
