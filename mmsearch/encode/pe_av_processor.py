"""A PE-AV checkpoint's own preprocessing of texts and sounds."""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encode.resampling import resample
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
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            self._extractor: Any = PeAudioFeatureExtractor.from_pretrained(
                folder, local_files_only=True
            )
        except Exception as error:  # transformers raises many kinds
            raise ModelError(f"cannot use {folder}: {one_line(error)}") from error
        # A tokenizer keeps the last call's truncation: unlocked, one text in six came out wrong.
        # https://github.com/huggingface/tokenizers/issues/537
        self._lock = Lock()
        self.rate_hz = int(self._extractor.sampling_rate)
        self.hop = int(self._extractor.hop_length)
        self.pad_id = int(self._tokenizer.pad_token_id)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of every token."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def ids(self, text: str, whole: bool = False) -> "NDArray[np.int64]":
        """Token numbers, special ones included, cut to the context or whole: (n,) int64."""
        with self._lock:
            encoded = self._tokenizer(
                text, truncation=not whole, max_length=None if whole else CONTEXT, verbose=False
            )
        return np.array(encoded.input_ids, np.int64)

    def samples(self, sound: Sound) -> FloatArray:
        """The samples at the checkpoint's rate, whole hops of them: (n,) float32."""
        found = self._extractor(
            resample(sound, self.rate_hz), sampling_rate=self.rate_hz, return_tensors="np"
        )
        return np.asarray(found["input_values"][0, 0], np.float32)
