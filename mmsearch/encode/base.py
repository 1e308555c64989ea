"""What an encoder and a model are; every adapter in this package follows these."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias, runtime_checkable

from PIL.Image import Image

from mmsearch.config import InputLimits
from mmsearch.encode.rerank import Reranker
from mmsearch.encode.seeing import Box
from mmsearch.errors import ModelError
from mmsearch.records import FieldName, FloatArray, Modality, Sound, Space

Decoded: TypeAlias = str | Image | Sound
"""One decoded chunk: a text, an RGB picture, or a stretch of sound."""


class Encoder(Protocol):
    """Turns decoded chunks of one modality into embeddings of one space.

    Constructing one is cheap: weights are loaded on the first ``encode``.
    """

    @property
    def modality(self) -> Modality:
        """What it embeds."""
        ...

    @property
    def space(self) -> Space:
        """Where its embeddings live."""
        ...

    @property
    def limits(self) -> InputLimits:
        """The longest input of one embedding."""
        ...

    @property
    def batch_size(self) -> int:
        """How many prepared inputs ``encode`` likes to get at once."""
        ...

    def fits(self, text: str) -> bool:
        """Whether the whole text is embedded, nothing cut (text encoders; others say True)."""
        ...

    def prepare(self, decoded: Any) -> Any:
        """Preprocess one decoded chunk to what ``encode`` takes; called from several threads."""
        ...

    def encode(self, prepared: Sequence[Any]) -> FloatArray:
        """Embed a batch.

        Returns:
            (n, dim) float32; rows of unit length where the space is normalised.
        """
        ...


@runtime_checkable
class LocalEncoder(Encoder, Protocol):
    """An encoder that also tells of the places of its input: patches, tokens, moments."""

    def places(self, prepared: Sequence[Any]) -> list[FloatArray]:
        """Describe every place of a batch.

        Returns:
            For each input (places, width) float32, not normalised; inputs may differ in places.
        """
        ...


@runtime_checkable
class MappingEncoder(Encoder, Protocol):
    """An encoder of pictures that also tells what it sees where, in its own space.

    Not what ``LocalEncoder`` tells, which lies before the head that leads into the space.
    """

    def maps(self, prepared: Sequence[Any]) -> list[FloatArray]:
        """Embed every place of the network's own feature map, for a batch of pictures.

        Returns:
            For each (rows, columns, dim) float32; vectors of unit length where the space is
            normalised.

        Raises:
            ModelError: This network has no such map.
        """
        ...

    def seen(self, size: tuple[int, int]) -> Box:
        """Where on a picture of some width and height its map lies."""
        ...


@runtime_checkable
class AskingEncoder(Encoder, Protocol):
    """An encoder that takes what is asked with in another way than what is to be found."""

    def prepare_query(self, decoded: Any) -> Any:
        """Preprocess one decoded chunk of a query to what ``encode`` takes."""
        ...


@runtime_checkable
class FetchingEncoder(Protocol):
    """An encoder whose files may be on the hub.

    It says nothing else of encoders, because ``isinstance`` of a protocol looks at each property.
    """

    def fetch(self) -> None:
        """Look for the files, and download what is missing; again it costs nothing.

        Raises:
            ModelError: They are neither here nor to be had.
        """
        ...


@dataclass(frozen=True)
class Model:
    """Encoders that together cover the modalities: one or more spaces.

    Attributes:
        name: The name it was loaded by, which loads it again.
        encoders: At most one for each (space, modality).
        reranker: What judges the first candidates of a search more closely, if anything does.
    """

    name: str
    encoders: tuple[Encoder, ...]
    reranker: Reranker | None = None

    @cached_property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces, each once, in the order of the encoders."""
        for encoder in self.encoders:  # all files first: imports and hashes take many seconds
            if isinstance(encoder, FetchingEncoder):
                encoder.fetch()
        return tuple({encoder.space.name: encoder.space for encoder in self.encoders}.values())

    def fields(self, modality: Modality) -> tuple[FieldName, ...]:
        """The fields that a chunk of this modality has a vector in."""
        return tuple(
            FieldName(encoder.space.name, modality)
            for encoder in self.encoders
            if encoder.modality is modality
        )

    def encoder(self, field: FieldName) -> Encoder:
        """The encoder whose output fills a field.

        Raises:
            ModelError: The model has no such encoder.
        """
        for encoder in self.encoders:
            if encoder.space.name == field.space and encoder.modality is field.modality:
                return encoder
        raise ModelError(f"model {self.name!r} does not encode {field.modality} in {field.space!r}")


class _Asked:
    """An encoder that takes everything as what is asked with."""

    def __init__(self, encoder: AskingEncoder) -> None:
        self._encoder = encoder
        self.modality, self.space, self.limits = encoder.modality, encoder.space, encoder.limits
        self.batch_size, self.fits, self.encode = encoder.batch_size, encoder.fits, encoder.encode
        self.prepare = encoder.prepare_query


def asking(model: Model) -> Model:
    """Return a model as it embeds queries; itself, where that is no different."""
    encoders = [_Asked(e) if isinstance(e, AskingEncoder) else e for e in model.encoders]
    return model if encoders == list(model.encoders) else replace(model, encoders=tuple(encoders))
