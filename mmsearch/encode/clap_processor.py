"""A CLAP checkpoint's own preprocessing of texts and sounds."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encode.resampling import resample
from mmsearch.encode.tokenizing import Tokenizer
from mmsearch.encode.torch_ import one_line
from mmsearch.errors import ModelError, UsageError
from mmsearch.records import FloatArray, Sound

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTRACTOR_SETTINGS = (
    "feature_size",
    "fft_window_size",
    "frequency_max",
    "frequency_min",
    "hop_length",
    "max_length_s",
    "padding",
    "sampling_rate",
    "top_db",
    "truncation",
)
"""What the feature extractor's output depends on."""


@dataclass(frozen=True, slots=True)
class PreparedSound:
    """The feature extractor's output for one sound.

    Attributes:
        mels: (channels, frames, mel bins) float32; four channels where the checkpoint fuses a
            whole sound with crops of it, else one.
        is_longer: (1,) bool, the extractor's flag for that fusion.
    """

    mels: FloatArray
    is_longer: "NDArray[np.bool_]"


class Processor:
    """The checkpoint's feature extractor and tokenizer, usable from several threads."""

    def __init__(self, folder: Path) -> None:
        from transformers import ClapConfig, ClapProcessor

        try:
            config: Any = ClapConfig.from_pretrained(folder, local_files_only=True)
            processor: Any = ClapProcessor.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises many kinds
            raise ModelError(f"cannot use {folder}: {one_line(error)}") from error
        self._extractor = processor.feature_extractor
        self._tokenizer = Tokenizer(processor.tokenizer)
        self.dim = int(config.projection_dim)
        self.pad_id = self._tokenizer.pad_id
        # As in RoBERTa, the first position is one past that of padding.
        text = config.text_config
        positions = int(text.max_position_embeddings) - int(text.pad_token_id) - 1
        self.context_length = min(int(processor.tokenizer.model_max_length), positions)

    @property
    def extractor_settings(self) -> dict[str, Any]:
        """The feature extractor's settings."""
        return {key: getattr(self._extractor, key) for key in EXTRACTOR_SETTINGS}

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of every token."""
        return self._tokenizer.vocabulary

    @property
    def window_s(self) -> float:
        """The longest sound that is seen whole, in seconds."""
        return float(self._extractor.max_length_s)

    def ids(self, text: str, whole: bool = False) -> "NDArray[np.int64]":
        """Token numbers, special ones included, cut to the context or whole: (n,) int64."""
        return self._tokenizer.ids(text, None if whole else self.context_length)

    def mels(self, sound: Sound) -> PreparedSound:
        """Resample a sound, pad it and take its log-mel spectrogram, as the checkpoint does.

        Raises:
            UsageError: The sound is longer than ``window_s``; the extractor would keep a random
                stretch of it.
        """
        rate_hz = int(self._extractor.sampling_rate)
        if len(sound.samples) > round(self.window_s * sound.sample_rate_hz):
            seconds = len(sound.samples) / sound.sample_rate_hz
            raise UsageError(f"a sound of {seconds:.3f} s: give at most {self.window_s:g} s")
        # One sound at a time: of a batch, a fusing extractor marks a random one as longer.
        features = self._extractor(
            resample(sound, rate_hz), sampling_rate=rate_hz, return_tensors="np"
        )
        return PreparedSound(features["input_features"][0], features["is_longer"][0])
