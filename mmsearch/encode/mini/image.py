"""The image encoder of mini."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from mmsearch.config import InputLimits
from mmsearch.encode.mini.features import IMAGE_SIDE, pixels
from mmsearch.encode.mini.network import Network
from mmsearch.encode.mini.weights import WEIGHTS, space
from mmsearch.records import FloatArray, Modality, Space


class ImageEncoder:
    """Embeds whole pictures."""

    modality = Modality.IMAGE
    batch_size = 32

    def __init__(self, path: Path = WEIGHTS) -> None:
        self._path = path
        self._network = Network(path, "image")
        self.limits = InputLimits(image_side=2 * IMAGE_SIDE)

    @property
    def space(self) -> Space:
        """The space ``mini-1``."""
        return space(self._path)

    def fits(self, text: str) -> bool:
        """Texts are not its business."""
        return True

    def prepare(self, decoded: Image) -> NDArray[np.uint8]:
        """Shrink an RGB picture: (112, 112, 3) uint8."""
        return pixels(decoded)

    def encode(self, prepared: Sequence[NDArray[np.uint8]]) -> FloatArray:
        """Embed shrunk pictures: (n, 256) float32, L2-normalised rows."""
        if not prepared:
            return np.zeros((0, self.space.dim), np.float32)
        from mmsearch.encode.mini.towers import image_input

        return self._network(np.stack(prepared), image_input)
