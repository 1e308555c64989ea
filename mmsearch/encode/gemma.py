"""EmbeddingGemma 2 checkpoints of transformers: texts, pictures and sounds in one space."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from mmsearch.config import InputLimits
from mmsearch.encode.base import Model
from mmsearch.encode.checkpoint import CheckpointEncoder
from mmsearch.encode.compute import Compute
from mmsearch.encode.gemma_processor import CONTEXT, PROMPTS, WINDOW_S, Prepared, Processor
from mmsearch.encode.hub import TOKENIZER, TOKENIZER_EXTRAS
from mmsearch.encode.seeing import WHOLE, Box
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
from mmsearch.records import FloatArray, Modality, Sound, Space

if TYPE_CHECKING:
    import torch

WEIGHTS = ("model.safetensors",)
NEEDED = (("config.json",), WEIGHTS, ("processor_config.json",), (PROMPTS,), TOKENIZER)
EXTRAS = (*TOKENIZER_EXTRAS, "preprocessor_config.json", "video_preprocessor_config.json")

PASSAGE_TOKENS = 512
"""A vector says little of a long text, so passages are shorter than the context."""

IMAGE_SIDE = 1600
"""Twice the shorter side of the largest that is seen: 280 tokens of 48 x 48 px."""


class Checkpoint(EmbeddingCheckpoint):
    """One checkpoint: files, processor and network, each loaded once, on first use."""

    kind, prefix = "EmbeddingGemma 2", "gemma"
    needed, extras = NEEDED, EXTRAS

    def __init__(self, source: str, compute: Compute) -> None:
        super().__init__(source, compute)
        self.processor = Lazy(lambda: Processor(self.folder()))

    def _load_network(self) -> Any:
        from transformers import EmbeddingGemma2Model

        network = load_network(EmbeddingGemma2Model, "EmbeddingGemma 2", self.folder())
        return self.compute.place(network)

    def _describe(self) -> Space:
        folder, processor = self.folder(), self.processor()
        config = json.loads((folder / "config.json").read_text("utf-8"))
        settings = {
            "config": version_free(config),
            "processor": processor.settings,
            "vocabulary": vocabulary_sha256(processor.vocabulary),
        }
        return Space(
            name="gemma",
            dim=int(config["text_config"]["embedding_dim"]),
            normalized=True,
            checkpoint=f"gemma:{self.source}",
            sha256=identity_sha256(folder / WEIGHTS[0], settings),
        )

    def embed(self, samples: Sequence[Prepared]) -> FloatArray:
        """The mean of what is said of each token: (n, dim) float32, L2-normalised rows."""
        network = self.network()
        with self.compute.inference():
            return unit_rows(masked_mean(*self._states(network, samples)))

    def tokens(self, samples: Sequence[Prepared]) -> FloatArray:
        """What is said of each token: (n, tokens, dim) float32, L2-normalised."""
        network = self.network()
        with self.compute.inference():
            return unit_rows(self._states(network, samples)[0])

    def _states(
        self, network: Any, samples: Sequence[Prepared]
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """The last states, (n, tokens, dim), and which tokens are there, (n, tokens)."""
        arrays = self.processor().batch(samples)
        inputs = {name: self.compute.tensor(array) for name, array in arrays.items()}
        return network(**inputs).last_hidden_state.float(), inputs["attention_mask"]


def masked_mean(states: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """The mean over the places that are there: (n, places, dim) to (n, dim)."""
    there = mask.unsqueeze(-1).to(states.dtype)
    return (states * there).sum(dim=1) / there.sum(dim=1)


class TextEncoder(CheckpointEncoder[Checkpoint]):
    """Texts, with a prompt that says whether they ask or are to be found."""

    modality = Modality.TEXT
    batch_size = 32
    limits = InputLimits(text_chars=CHARS_PER_TOKEN * PASSAGE_TOKENS)

    def fits(self, text: str) -> bool:
        """Whether the context holds the whole text."""
        return len(self.prepare(text)["input_ids"]) <= CONTEXT

    def prepare(self, decoded: str) -> Prepared:
        """The tokens of a text that is to be found."""
        return self._checkpoint.processor().document(decoded)

    def prepare_query(self, decoded: str) -> Prepared:
        """The tokens of a text that is asked with."""
        return self._checkpoint.processor().question(decoded)

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        """Embed n texts: (n, dim) float32, L2-normalised rows."""
        return self._checkpoint.embed(prepared)


class ImageEncoder(CheckpointEncoder[Checkpoint]):
    """Pictures, in their own proportions."""

    modality = Modality.IMAGE
    batch_size = 8
    limits = InputLimits(image_side=IMAGE_SIDE)

    def prepare(self, decoded: Image) -> Prepared:
        """The patches of an RGB picture."""
        return self._checkpoint.processor().picture(decoded)

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        """Embed n pictures: (n, dim) float32, L2-normalised rows."""
        return self._checkpoint.embed(prepared)

    def maps(self, prepared: Sequence[Prepared]) -> list[FloatArray]:
        """What is said of each place of n pictures: (rows, columns, dim) float32 each."""
        found = []
        for tokens, sample in zip(self._checkpoint.tokens(prepared), prepared, strict=True):
            of_places, grid = self._checkpoint.processor().grid(sample)
            found.append(tokens[: len(of_places)][of_places].reshape(*grid, -1))
        return found

    def seen(self, size: tuple[int, int]) -> Box:
        """All of a picture."""
        return WHOLE


class AudioEncoder(CheckpointEncoder[Checkpoint]):
    """Sounds, in windows of half a minute."""

    modality = Modality.AUDIO
    batch_size = 8
    limits = InputLimits(window_s=WINDOW_S, hop_s=WINDOW_S)

    def prepare(self, decoded: Sound) -> Prepared:
        """The log-mel spectrogram of a sound."""
        return self._checkpoint.processor().sound(decoded)

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        """Embed n sounds: (n, dim) float32, L2-normalised rows."""
        return self._checkpoint.embed(prepared)


def load(name: str, compute: Compute) -> Model:
    """Make the model of a checkpoint; its files are first read when they are needed.

    Args:
        name: A folder, or OWNER/NAME on the Hugging Face hub.
        compute: What its networks run on.

    Raises:
        ModelError: The name is neither.
    """
    source = folder_or_repository("gemma", name)
    checkpoint = Checkpoint(source, compute)
    encoders = (TextEncoder(checkpoint), ImageEncoder(checkpoint), AudioEncoder(checkpoint))
    return Model(f"gemma:{source}", encoders)
