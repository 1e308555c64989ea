"""A PE-AV checkpoint's own preprocessing of texts and sounds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encode.resampling import resample
from mmsearch.encode.tokenizing import Tokenizer
from mmsearch.encode.torch_ import one_line
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Sound

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTEXT = 512
"""Tokens of a text, as Meta's own transform cuts it."""


class Processor:
    """The checkpoint's tokenizer and what its feature extractor does, for several threads."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, PeAudioFeatureExtractor

        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            self._extractor: Any = PeAudioFeatureExtractor.from_pretrained(
                folder, local_files_only=True
            )
        except Exception as error:  # transformers raises many kinds
            raise ModelError(f"cannot use {folder}: {one_line(error)}") from error
        self._tokenizer = Tokenizer(tokenizer)
        self.rate_hz = int(self._extractor.sampling_rate)
        self.hop = int(self._extractor.hop_length)
        self.pad_id = self._tokenizer.pad_id

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of every token."""
        return self._tokenizer.vocabulary

    def ids(self, text: str, whole: bool = False) -> "NDArray[np.int64]":
        """Token numbers, special ones included, cut to the context or whole: (n,) int64."""
        return self._tokenizer.ids(text, None if whole else CONTEXT)

    def samples(self, sound: Sound) -> FloatArray:
        """The samples at the checkpoint's rate, whole hops of them: (n,) float32."""
        found = self._extractor(
            resample(sound, self.rate_hz), sampling_rate=self.rate_hz, return_tensors="np"
        )
        return np.asarray(found["input_values"][0, 0], np.float32)
