"""Perception Encoder checkpoints (PE-AV) of transformers: texts and sounds in one acoustic space.

``PeAudioModel.forward`` compares by the inner product of rows that are not of unit length, but is
asked for texts against sounds only; by it the longest row would be nearest to every sound. So rows
are normalised, as mteb does.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import InputLimits
from mmsearch.encode.base import Model
from mmsearch.encode.checkpoint import CheckpointEncoder
from mmsearch.encode.compute import Compute
from mmsearch.encode.hub import TOKENIZER, TOKENIZER_EXTRAS
from mmsearch.encode.pe_av_processor import CONTEXT, Processor
from mmsearch.encode.tokenizing import padded
from mmsearch.encode.torch_ import (
    CHARS_PER_TOKEN,
    Lazy,
    identity_sha256,
    load_error,
    one_line,
    unit_rows,
    vocabulary_sha256,
)
from mmsearch.encode.transformers_ import EmbeddingCheckpoint, folder_or_repository, version_free
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Modality, Sound, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "model.safetensors"
EXTRACTOR = ("preprocessor_config.json", "processor_config.json")
NEEDED = (("config.json",), (WEIGHTS,), EXTRACTOR, TOKENIZER)
EXTRAS = (*TOKENIZER_EXTRAS, *EXTRACTOR)

TRAINED_TOKENS = 77
"""Captions of sounds are short: passages as for CLAP."""

WINDOW_S = 30.0
"""Length of a training sample (arXiv 2512.19687)."""


class Checkpoint(EmbeddingCheckpoint):
    """One checkpoint: files, processor and network, each loaded once, on first use."""

    kind, prefix = "PE-AV", "pe_av"
    needed, extras = NEEDED, EXTRAS

    def __init__(self, source: str, compute: Compute) -> None:
        super().__init__(source, compute)
        self.config = Lazy(self._load_config)
        self.processor = Lazy(lambda: Processor(self.folder()))

    def _load_config(self) -> Any:
        """The settings of the audio model, which one for video holds too."""
        from transformers import AutoConfig

        try:
            config: Any = AutoConfig.from_pretrained(
                self.folder(), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # transformers raises many kinds
            raise ModelError(f"cannot use {self.folder()}: {one_line(error)}") from error
        if config.model_type == "pe_audio_video":
            return config.audio_config
        if config.model_type == "pe_audio":
            return config
        raise ModelError(f"{self.folder()} is no PE-AV checkpoint but {config.model_type}")

    def _load_network(self) -> Any:
        """Return the PeAudioModel in float32 and evaluation mode.

        ``PeAudioModel.from_pretrained`` cannot read a checkpoint that holds a video model, too:
        there its parts go by longer names, and the text model is shared.
        """
        import torch
        from safetensors import safe_open
        from transformers import PeAudioModel

        path = self.folder() / WEIGHTS
        try:
            network: Any = PeAudioModel(self.config())
            with safe_open(path, framework="pt") as file:
                names = _names(list(network.state_dict()), set(file.keys()))
                state = {own: file.get_tensor(name).float() for own, name in names.items()}
            network.load_state_dict(state)
        except ModelError:
            raise
        except Exception as error:  # torch, safetensors and transformers raise many kinds
            raise load_error(path, error) from error
        assert isinstance(network, torch.nn.Module)
        return self.compute.place(network)

    def _describe(self) -> Space:
        processor = self.processor()
        settings = {
            "config": _audio_part(json.loads((self.folder() / "config.json").read_text("utf-8"))),
            "rate_hz": processor.rate_hz,
            "hop": processor.hop,
            "vocabulary": vocabulary_sha256(processor.vocabulary),
        }
        return Space(
            name="acoustic",
            dim=int(self.config().text_config.hidden_size),
            normalized=True,
            checkpoint=f"pe_av:{self.source}",
            sha256=identity_sha256(self.folder() / WEIGHTS, settings),
        )


def _audio_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a ``config.json`` is of sounds and texts."""
    around = config.get("audio_video_config") or config
    parts = {"text": config.get("text_config"), "audio": around.get("audio_config")}
    return version_free({name: part or {} for name, part in parts.items()})


def _names(wanted: Sequence[str], there: set[str]) -> Mapping[str, str]:
    """What the tensors of an audio model are called in a file."""
    found = {}
    for own in wanted:
        name = next((name for name in (f"audio_model.{own}", own) if name in there), None)
        if name is None:
            raise ModelError(f"the weights are not of a PE-AV model: {own} is missing")
        found[own] = name
    return found


class TextEncoder(CheckpointEncoder[Checkpoint]):
    """Texts in the acoustic space."""

    modality = Modality.TEXT
    batch_size = 32
    limits = InputLimits(text_chars=CHARS_PER_TOKEN * TRAINED_TOKENS)

    def fits(self, text: str) -> bool:
        """Whether the context holds the whole text."""
        return len(self._checkpoint.processor().ids(text, whole=True)) <= CONTEXT

    def prepare(self, decoded: str) -> "NDArray[np.int64]":
        """Turn a text into (n,) int64 token numbers."""
        return self._checkpoint.processor().ids(decoded)

    def encode(self, prepared: "Sequence[NDArray[np.int64]]") -> FloatArray:
        """Embed n texts: (n, dim) float32, L2-normalised rows."""
        network, compute = self._checkpoint.network(), self._checkpoint.compute
        ids, mask = map(compute.tensor, padded(prepared, self._checkpoint.processor().pad_id))
        with compute.inference():
            # The model's own get_text_audio_embeds fails in transformers 5.23: it does not ask for
            # the states that it reads.
            said = network.text_model(ids, attention_mask=mask, output_hidden_states=True)
            found = network.text_audio_head(said.hidden_states[-1][:, 0])
            return unit_rows(found)


class AudioEncoder(CheckpointEncoder[Checkpoint]):
    """Sounds in the acoustic space."""

    modality = Modality.AUDIO
    batch_size = 4
    limits = InputLimits(window_s=WINDOW_S, hop_s=WINDOW_S / 2)

    def prepare(self, decoded: Sound) -> FloatArray:
        """Resample a sound: (n,) float32."""
        return self._checkpoint.processor().samples(decoded)

    def encode(self, prepared: Sequence[FloatArray]) -> FloatArray:
        """Embed n sounds: (n, dim) float32, L2-normalised rows.

        Sounds of one length are embedded together: the network hears where others are filled up.
        """
        network, compute = self._checkpoint.network(), self._checkpoint.compute
        found = np.zeros((len(prepared), self.space.dim), np.float32)
        lengths = np.array([len(samples) for samples in prepared])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length).tolist()
            samples = compute.tensor(np.stack([prepared[row] for row in rows])[:, None])
            with compute.inference():
                said = network.get_audio_embeds(samples)
                found[rows] = unit_rows(said)
        return found


def load(name: str, compute: Compute) -> Model:
    """Make the model of a checkpoint; its files are first read when they are needed.

    Args:
        name: A folder, or OWNER/NAME on the Hugging Face hub.
        compute: What its networks run on.

    Raises:
        ModelError: The name is neither.
    """
    source = folder_or_repository("pe_av", name)
    checkpoint = Checkpoint(source, compute)
    return Model(f"pe_av:{source}", (TextEncoder(checkpoint), AudioEncoder(checkpoint)))
