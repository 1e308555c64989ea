"""An EmbeddingGemma 2 checkpoint's own preprocessing of texts, pictures and sounds."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL.Image import Image

from mmsearch.encode.resampling import resample
from mmsearch.encode.tokenizing import Tokenizer
from mmsearch.encode.torch_ import one_line
from mmsearch.errors import ModelError, UsageError
from mmsearch.records import Sound

if TYPE_CHECKING:
    from numpy.typing import NDArray

Prepared: TypeAlias = "Mapping[str, NDArray[Any]]"
"""What the network takes for one sample, by the names of its arguments, without a batch axis."""

PROMPTS = "config_sentence_transformers.json"
CONTEXT = 8192
"""Tokens, as the model card says."""

WINDOW_S = 30.0
"""Of what is longer the feature extractor would keep the first half minute, silently."""

LEAST_S = 0.1
"""Shorter sounds are filled up with silence: below 10 ms there is nothing for the network."""

SETTINGS = {
    "image_processor": (
        "do_normalize",
        "do_rescale",
        "do_resize",
        "image_mean",
        "image_std",
        "max_soft_tokens",
        "patch_size",
        "pooling_kernel_size",
        "resample",
        "rescale_factor",
    ),
    "feature_extractor": (
        "feature_size",
        "fft_length",
        "frame_length",
        "hop_length",
        "input_scale_factor",
        "max_frequency",
        "mel_floor",
        "min_frequency",
        "per_bin_mean",
        "per_bin_stddev",
        "preemphasis",
        "sampling_rate",
    ),
}
"""What the arrays of pictures and sounds depend on."""


class Processor:
    """The checkpoint's processor, usable from several threads."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoProcessor

        try:
            make: Any = AutoProcessor
            self._processor = make.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            self._prompts = json.loads((folder / PROMPTS).read_text("utf-8"))["prompts"]
            self._prompts["SearchQuery"], self._prompts["Document"]
        except Exception as error:  # transformers raises many kinds
            raise ModelError(f"cannot use {folder}: {one_line(error)}") from error
        self._tokenizer = Tokenizer(self._processor.tokenizer)

    @property
    def settings(self) -> dict[str, Any]:
        """What a sample's arrays depend on, beside the vocabulary."""
        parts = {p: json.loads(getattr(self._processor, p).to_json_string()) for p in SETTINGS}
        found: dict[str, Any] = {
            part: {key: parts[part].get(key) for key in keys} for part, keys in SETTINGS.items()
        }
        return found | {"prompts": [self._prompts["Document"], self._prompts["SearchQuery"]]}

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of every token."""
        return self._tokenizer.vocabulary

    def document(self, text: str) -> Prepared:
        """A text that is to be found, with the checkpoint's prompt for it."""
        return self._tokens(self._prompts["Document"] + text)

    def question(self, text: str) -> Prepared:
        """A text that is asked with, whatever is searched."""
        return self._tokens(self._prompts["SearchQuery"] + text)

    def _tokens(self, text: str) -> Prepared:
        """Not through the processor, which takes the marks of pictures in a text for pictures."""
        ids = self._tokenizer.ids(text)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def picture(self, picture: Image) -> Prepared:
        """A picture, without a prompt."""
        return self._first(images=[picture])

    def sound(self, sound: Sound) -> Prepared:
        """A sound of at most 30 s, without a prompt.

        Raises:
            UsageError: It is longer.
        """
        rate_hz = int(self._processor.feature_extractor.sampling_rate)
        if len(sound.samples) > WINDOW_S * sound.sample_rate_hz:
            seconds = len(sound.samples) / sound.sample_rate_hz
            raise UsageError(f"a sound of {seconds:.3f} s: give at most {WINDOW_S:g} s")
        samples = resample(sound, rate_hz)
        longer = np.pad(samples, (0, max(0, round(LEAST_S * rate_hz) - len(samples))))
        return self._first(audio=[longer], sampling_rate=rate_hz)

    def grid(self, sample: Prepared) -> "tuple[NDArray[np.bool_], tuple[int, int]]":
        """Which tokens of a picture stand for places, and in how many rows and columns."""
        of_places = sample["input_ids"] == self._processor.image_token_id
        columns, rows = sample["image_position_ids"].max(axis=0) + 1  # of patches
        side = round(math.sqrt(rows * columns / np.count_nonzero(of_places)))  # that are one token
        return of_places, (int(rows) // side, int(columns) // side)

    def batch(self, samples: Sequence[Prepared]) -> dict[str, "NDArray[Any]"]:
        """Samples of one modality as one, the shorter ones filled up at their ends."""
        return {name: self._stacked(name, [s[name] for s in samples]) for name in samples[0]}

    def _stacked(self, name: str, arrays: Sequence["NDArray[Any]"]) -> "NDArray[Any]":
        longest = max(len(array) for array in arrays)
        fill = self._tokenizer.pad_id if name == "input_ids" else 0
        shape = (len(arrays), longest, *arrays[0].shape[1:])
        found = np.full(shape, fill, arrays[0].dtype)
        for row, array in zip(found, arrays, strict=True):
            row[: len(array)] = array
        return found

    def _first(self, **sample: Any) -> Prepared:
        """What the processor makes of one sample."""
        unused = set(self._processor.unused_input_names)
        with self._tokenizer.lock:
            found = self._processor(**sample, return_tensors="pt")
        return {name: value[0].numpy() for name, value in found.items() if name not in unused}
