"""What a person asks: one or several modalities, decoded and embedded."""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

import numpy as np
from PIL.Image import Image

from mmsearch.encode import AskingEncoder, Encoder, Model
from mmsearch.encode.batching import Batching
from mmsearch.engine.jobs import decode_for
from mmsearch.errors import DecodeError, UsageError, one_line
from mmsearch.records import FieldName, FloatArray, Modality, Part, Sound

log = logging.getLogger(__name__)

ImageLike: TypeAlias = str | os.PathLike[str] | Image
SoundLike: TypeAlias = str | os.PathLike[str] | Sound


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one or several modalities; their embeddings are averaged.

    Attributes:
        text: Words.
        image: A picture: a path, or an RGB picture of Pillow's.
        audio: A sound: a path, or samples.
        templates: Sentences with ``{}`` where the words go; what they all say is averaged (Radford
            et al. 2021, section 3.1.4). The words alone by default.
        vectors: By space (dim,) float32 of unit length, embedded elsewhere.
    """

    text: str | None = None
    image: ImageLike | None = None
    audio: SoundLike | None = None
    templates: tuple[str, ...] = ()
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := [template for template in self.templates if "{}" not in template]:
            raise UsageError(f"template {wrong[0]!r}: needs {{}} where the words go")
        if self.text is not None and not self.text.strip():
            raise UsageError("the query text is empty; say what to look for")
        if not self.inputs() and not self.vectors:
            raise UsageError("an empty query; give a text, an image, a sound or a vector")

    def inputs(self) -> Mapping[Modality, object]:
        """Return what is asked in each modality."""
        asked = {
            Modality.TEXT: self.text,
            Modality.IMAGE: self.image,
            Modality.AUDIO: self.audio,
        }
        return {modality: value for modality, value in asked.items() if value is not None}

    @property
    def sentences(self) -> list[str]:
        """The words, in each template."""
        text = self.text or ""
        return [template.replace("{}", text) for template in self.templates or ("{}",)]


def sentences(templates: str | Sequence[str]) -> tuple[str, ...]:
    """One template or several."""
    return (templates,) if isinstance(templates, str) else tuple(templates)


def embed(query: Query, model: Model) -> dict[str, FloatArray]:
    """Return the query's vector in each space that covers one of its modalities.

    Returns:
        By space (dim,) float32 of unit length: the normalised mean of what the query's chunks are
        embedded as.

    Raises:
        DecodeError: A file cannot be decoded.
    """
    vectors: dict[str, list[FloatArray]] = {}
    for modality, value in query.inputs().items():
        values = query.sentences if modality is Modality.TEXT else [value]
        for name in model.fields(modality):
            mean = _unit(np.sum(_embed_all(model, name, values), axis=0))
            vectors.setdefault(name.space, []).append(mean)
    for space, vector in query.vectors.items():
        vectors.setdefault(space, []).append(vector)
    return {space: _unit(np.sum(parts, axis=0)) for space, parts in vectors.items()}


def embed_texts(queries: Sequence[Query], model: Model) -> list[dict[str, FloatArray]]:
    """Return what :func:`embed` returns for each of many texts, encoded in batches."""
    vectors: list[dict[str, FloatArray]] = [{} for _ in queries]
    sentences = [sentence for query in queries for sentence in query.sentences]
    for name in model.fields(Modality.TEXT):
        found = iter(_embed_all(model, name, sentences))
        for vector, query in zip(vectors, queries, strict=True):
            said = list(islice(found, len(query.sentences)))
            vector[name.space] = _unit(np.sum(said, axis=0))
    return vectors


def _embed_all(model: Model, name: FieldName, values: Sequence[object]) -> list[FloatArray]:
    """Return for each value the normalised sum of its chunks, encoded a batch at a time."""
    encoder = model.encoder(name)
    prepare = encoder.prepare_query if isinstance(encoder, AskingEncoder) else encoder.prepare
    sums = np.zeros((len(values), encoder.space.dim), np.float32)
    chunks = ((n, c) for n, value in enumerate(values) for c in decoded(name, encoder, value))
    passages = np.zeros(len(values), np.int64)
    batching = Batching(encoder)
    while batch := list(islice(chunks, batching.size)):
        prepared = [prepare(chunk) for _, chunk in batch]
        numbers = [n for n, _ in batch]
        np.add.at(sums, numbers, batching(prepared))
        np.add.at(passages, numbers, 1)
    if name.modality is Modality.TEXT and passages.max(initial=0) > 1:
        log.warning(
            "the query is long: it is embedded in %d passages (%s), and their mean is searched; a "
            "shorter one finds more",
            passages.max(),
            name.space,
        )
    for value, count in zip(values, passages, strict=True):
        if not count:  # a film without sound, say
            raise DecodeError(f"{one_line(str(value))}: there is no {name.modality} in it")
    return [_unit(vector) for vector in sums]


def decoded(name: FieldName, encoder: Encoder, value: object) -> Iterator[object]:
    """Decode a query; a long one becomes several chunks."""
    if isinstance(value, Image):
        return iter([value.convert("RGB")])
    if isinstance(value, Sound):
        return iter([value])
    if name.modality is Modality.TEXT:
        part = Part("query", Modality.TEXT, text=str(value))
    else:
        assert isinstance(value, str | os.PathLike)
        path = os.path.abspath(os.path.expanduser(os.fsdecode(value)))
        part = Part("query", name.modality, path=path)
    return (decoded for _, decoded in decode_for(part, [(name, encoder)]))


def _unit(vector: FloatArray) -> FloatArray:
    length = math.sqrt(vector @ vector)
    return vector / np.float32(length) if length else vector
