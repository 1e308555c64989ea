"""The audio encoder of mini."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.config import InputLimits
from mmsearch.encode.mini.features import MAX_SECONDS, spectrogram
from mmsearch.encode.mini.network import Network
from mmsearch.encode.mini.weights import WEIGHTS, space
from mmsearch.records import FloatArray, Modality, Sound, Space


class AudioEncoder:
    """Embeds sounds of up to 10 s."""

    modality = Modality.AUDIO
    batch_size = 16

    def __init__(self, path: Path = WEIGHTS) -> None:
        self._path = path
        self._network = Network(path, "audio")
        self.limits = InputLimits(window_s=float(MAX_SECONDS))

    @property
    def space(self) -> Space:
        """The space ``mini-1``."""
        return space(self._path)

    def fits(self, text: str) -> bool:
        """Texts are not its business."""
        return True

    def prepare(self, decoded: Sound) -> NDArray[np.float16]:
        """Log-mel spectrogram of a sound: (64, 100 x whole seconds) float16."""
        return spectrogram(decoded)

    def encode(self, prepared: Sequence[NDArray[np.float16]]) -> FloatArray:
        """Embed spectrograms: (n, 256) float32, L2-normalised rows.

        Sounds of one length are embedded together: padding would make them depend on each other.
        """
        from mmsearch.encode.mini.towers import audio_input

        vectors = np.zeros((len(prepared), self.space.dim), np.float32)
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, mel in enumerate(prepared):
            by_length[mel.shape[1]].append(number)
        for numbers in by_length.values():
            batch = np.stack([prepared[number] for number in numbers])
            vectors[numbers] = self._network(batch, audio_input)
        return vectors
