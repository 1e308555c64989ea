"""What a person asks: one or several modalities, decoded and embedded."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NoReturn, TypeAlias

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
Failed: TypeAlias = Callable[[int, DecodeError], None]
"""Is told the number of a query that cannot be decoded, and why."""


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

    def values(self, modality: Modality) -> Sequence[object]:
        """Return what is embedded and averaged in a modality: the words in each template."""
        value = self.inputs().get(modality)
        if modality is not Modality.TEXT or self.text is None:
            return [] if value is None else [value]
        return [template.replace("{}", self.text) for template in self.templates or ("{}",)]


def sentences(templates: str | Sequence[str]) -> tuple[str, ...]:
    """One template or several."""
    return (templates,) if isinstance(templates, str) else tuple(templates)


def embed(query: Query, model: Model) -> dict[str, FloatArray]:
    """Return what :func:`embed_many` returns for one query."""
    return embed_many([query], model)[0]


def refuse(number: int, error: DecodeError) -> NoReturn:
    """Let no query fail."""
    raise error


def embed_many(
    queries: Sequence[Query], model: Model, failed: Failed = refuse
) -> dict[int, dict[str, FloatArray]]:
    """Embed queries in each space that covers one of their modalities, encoded in batches.

    Args:
        queries: Of any modalities.
        model: The index's model.
        failed: Called with the number of each query that cannot be decoded, and why.

    Returns:
        By number of the query, by space (dim,) float32 of unit length: the normalised mean of what
        the query's chunks are embedded as. Those that have failed are absent.
    """
    parts: dict[int, dict[str, list[FloatArray]]] = {n: {} for n in range(len(queries))}

    def fail(number: int, error: DecodeError) -> None:
        if parts.pop(number, None) is not None:
            failed(number, error)

    for name in (name for modality in Modality for name in model.fields(modality)):
        asked = [(n, v) for n in parts for v in queries[n].values(name.modality)]
        means: dict[int, list[FloatArray]] = {}
        for number, vector in _embed_values(model, name, asked, fail) if asked else ():
            means.setdefault(number, []).append(vector)
        for number in means.keys() & parts.keys():
            mean = _unit(np.sum(means[number], axis=0))
            parts[number].setdefault(name.space, []).append(mean)
    for number, mine in parts.items():
        for space, vector in queries[number].vectors.items():
            mine.setdefault(space, []).append(vector)
    return {
        number: {space: _unit(np.sum(some, axis=0)) for space, some in mine.items()}
        for number, mine in parts.items()
    }


def alike(
    queries: Sequence[Query], embedded: Mapping[int, Mapping[str, FloatArray]]
) -> list[list[int]]:
    """Return the numbers of embedded queries, those of one kind together.

    What is asked in the same modalities and embedded in the same spaces is searched for alike.
    """
    kinds: dict[object, list[int]] = {}
    for number, vectors in embedded.items():
        kind = (frozenset(queries[number].inputs()), frozenset(vectors))
        kinds.setdefault(kind, []).append(number)
    return list(kinds.values())


def _embed_values(
    model: Model, name: FieldName, asked: Sequence[tuple[int, object]], failed: Failed
) -> Iterator[tuple[int, FloatArray]]:
    """Yield for each value its query's number and the normalised sum of its chunks."""
    encoder = model.encoder(name)
    sums = np.zeros((len(asked), encoder.space.dim), np.float32)
    passages = np.zeros(len(asked), np.int64)
    chunks = _prepared(name, encoder, asked, failed)
    batching = Batching(encoder)
    while batch := list(islice(chunks, batching.size)):
        places = [place for place, _ in batch]
        np.add.at(sums, places, batching([prepared for _, prepared in batch]))
        np.add.at(passages, places, 1)
    if name.modality is Modality.TEXT and passages.max(initial=0) > 1:
        log.warning(
            "the query is long: it is embedded in %d passages (%s), and their mean is searched; a "
            "shorter one finds more",
            passages.max(),
            name.space,
        )
    for (number, value), count, total in zip(asked, passages, sums, strict=True):
        if count:
            yield number, _unit(total)
        else:  # a film without sound, say
            reason = f"{one_line(str(value))}: there is no {name.modality} in it"
            failed(number, DecodeError(reason))


def _prepared(
    name: FieldName, encoder: Encoder, asked: Sequence[tuple[int, object]], failed: Failed
) -> Iterator[tuple[int, object]]:
    """Yield the chunks of values, ready to be encoded, each with the place of its value."""
    prepare = encoder.prepare_query if isinstance(encoder, AskingEncoder) else encoder.prepare
    for place, (number, value) in enumerate(asked):
        try:
            for chunk in decoded(name, encoder, value):
                yield place, prepare(chunk)
        except DecodeError as error:
            failed(number, error)


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
