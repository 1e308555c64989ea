"""CLAP checkpoints of transformers: texts and sounds in one acoustic space."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import InputLimits
from mmsearch.encode.base import Model
from mmsearch.encode.checkpoint import CheckpointEncoder
from mmsearch.encode.clap_processor import PreparedSound, Processor
from mmsearch.encode.compute import Compute
from mmsearch.encode.hub import TOKENIZER, TOKENIZER_EXTRAS, first_file
from mmsearch.encode.tokenizing import padded
from mmsearch.encode.torch_ import (
    CHARS_PER_TOKEN,
    Lazy,
    identity_sha256,
    unit_rows,
    vocabulary_sha256,
)
from mmsearch.encode.transformers_ import (
    EmbeddingCheckpoint,
    folder_or_repository,
    load_network,
    version_free,
)
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Modality, Sound, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
EXTRACTOR = ("preprocessor_config.json", "processor_config.json")
NEEDED = (("config.json",), WEIGHTS, EXTRACTOR, TOKENIZER)
EXTRAS = (*TOKENIZER_EXTRAS, *EXTRACTOR)

BROKEN = {
    "larger_clap_music": "its text tower is broken (AudioCaps text-to-audio hit_at_1 is 0.1 %):"
    " use clap:laion/clap-htsat-unfused"
}
"""Checkpoints that load without complaint and find nothing, and why."""

TRAINED_TOKENS = 77
"""LAION-CLAP was trained on captions of at most 77 tokens, though its context has 512."""


class Checkpoint(EmbeddingCheckpoint):
    """One CLAP checkpoint: files, processor and network, each loaded once, on first use."""

    kind, prefix = "CLAP", "clap"
    needed, extras = NEEDED, EXTRAS

    def __init__(self, source: str, compute: Compute) -> None:
        super().__init__(source, compute)
        self.processor = Lazy(self._load_processor)

    def _load_processor(self) -> Processor:
        return Processor(self.folder())

    def _load_network(self) -> Any:
        from transformers import ClapModel

        return self.compute.place(load_network(ClapModel, "CLAP", self.folder()))

    def _describe(self) -> Space:
        folder, processor = self.folder(), self.processor()
        weights = first_file(folder, WEIGHTS)
        assert weights is not None  # _find_folder has seen it
        config = json.loads((folder / "config.json").read_text("utf-8"))
        settings = {
            "config": version_free(config),
            "extractor": processor.extractor_settings,
            "context_length": processor.context_length,
            "vocabulary": vocabulary_sha256(processor.vocabulary),
        }
        return Space(
            name="acoustic",
            dim=processor.dim,
            normalized=True,
            checkpoint=f"clap:{self.source}",
            sha256=identity_sha256(weights, settings),
        )


class TextEncoder(CheckpointEncoder[Checkpoint]):
    """Texts in the acoustic space."""

    modality = Modality.TEXT
    batch_size = 64

    @property
    def limits(self) -> InputLimits:
        """Passages as long as the captions of the training data."""
        tokens = min(TRAINED_TOKENS, self._checkpoint.processor().context_length)
        return InputLimits(text_chars=CHARS_PER_TOKEN * tokens)

    def fits(self, text: str) -> bool:
        """Whether the tokenizer keeps the whole text."""
        processor = self._checkpoint.processor()
        return len(processor.ids(text, whole=True)) <= processor.context_length

    def prepare(self, decoded: str) -> "NDArray[np.int64]":
        """Turn a text into (n,) int64 token numbers."""
        return self._checkpoint.processor().ids(decoded)

    def encode(self, prepared: "Sequence[NDArray[np.int64]]") -> FloatArray:
        """Embed n texts: (n, dim) float32, L2-normalised rows."""
        network, compute = self._checkpoint.network(), self._checkpoint.compute
        ids, mask = map(compute.tensor, padded(prepared, self._checkpoint.processor().pad_id))
        with compute.inference():
            features = network.get_text_features(ids, attention_mask=mask)
            return unit_rows(features.pooler_output)


class AudioEncoder(CheckpointEncoder[Checkpoint]):
    """Sounds in the acoustic space."""

    modality = Modality.AUDIO
    batch_size = 16

    @property
    def limits(self) -> InputLimits:
        """The checkpoint's window (10 s for LAION's), and half of it as the hop."""
        window_s = self._checkpoint.processor().window_s
        return InputLimits(window_s=window_s, hop_s=window_s / 2)

    def prepare(self, decoded: Sound) -> PreparedSound:
        """Resample a sound and take its log-mel spectrogram."""
        return self._checkpoint.processor().mels(decoded)

    def encode(self, prepared: Sequence[PreparedSound]) -> FloatArray:
        """Embed n sounds: (n, dim) float32, L2-normalised rows."""
        network, compute = self._checkpoint.network(), self._checkpoint.compute
        mels = compute.tensor(np.stack([sound.mels for sound in prepared]))
        is_longer = compute.tensor(np.stack([sound.is_longer for sound in prepared]))
        with compute.inference():
            features = network.get_audio_features(mels, is_longer=is_longer)
            return unit_rows(features.pooler_output)


def load(name: str, compute: Compute) -> Model:
    """Make the model of a CLAP checkpoint; its files are first read when they are needed.

    Args:
        name: A folder, or OWNER/NAME on the Hugging Face hub.
        compute: What its networks run on.

    Raises:
        ModelError: The name is neither, or the checkpoint is known not to work.
    """
    if reason := BROKEN.get(Path(name).name.lower()):
        raise ModelError(f"clap:{name} is refused: {reason}")
    source = folder_or_repository("clap", name)
    checkpoint = Checkpoint(source, compute)
    return Model(f"clap:{source}", (TextEncoder(checkpoint), AudioEncoder(checkpoint)))
