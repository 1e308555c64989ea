"""Embedding queries: each thing that is asked for, in each space that covers it."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, NoReturn, TypeAlias

import numpy as np
from PIL.Image import Image

from mmsearch.encode import AskingEncoder, Encoder, Model
from mmsearch.encode.batching import Batching
from mmsearch.engine.jobs import decode_for
from mmsearch.engine.query import Query
from mmsearch.errors import DecodeError, one_line
from mmsearch.records import FieldName, FloatArray, Modality, Part, Sound

log = logging.getLogger(__name__)

Failed: TypeAlias = Callable[[int, DecodeError], None]
"""Is told the number of a query that cannot be decoded, and why."""


class Weighted(NamedTuple):
    """A term of a query in one space.

    Attributes:
        vector: (dim,) float32, of unit length.
        weight: What it counts; negative to be kept away from.
        modality: What it was given in; None for a vector.
    """

    vector: FloatArray
    weight: float
    modality: Modality | None = None


Embedded: TypeAlias = Mapping[str, Sequence[Weighted]]
"""By space the terms of a query that it covers."""


def refuse(number: int, error: DecodeError) -> NoReturn:
    """Let no query fail."""
    raise error


def embed_many(
    queries: Sequence[Query], model: Model, failed: Failed = refuse
) -> dict[int, Embedded]:
    """Embed queries in each space that covers one of their modalities, encoded in batches.

    Args:
        queries: Of any modalities.
        model: The index's model.
        failed: Called with the number of each query that cannot be decoded, and why.

    Returns:
        By number of the query what it is embedded as; the chunks of a term, and the ways to say it,
        are averaged. Queries that have failed are absent.
    """
    found: dict[int, dict[str, list[Weighted]]] = {n: {} for n in range(len(queries))}

    def fail(number: int, error: DecodeError) -> None:
        if found.pop(number, None) is not None:
            failed(number, error)

    for name in (name for modality in Modality for name in model.fields(modality)):
        terms = [(n, t) for n in found for t in queries[n].terms if t.modality is name.modality]
        asked = [(at, value) for at, (_, term) in enumerate(terms) for value in term.values]
        sums: dict[int, FloatArray] = {}
        numbers = [n for n, _ in terms]
        for at, vector in _embed_values(model, name, asked, numbers, fail) if asked else ():
            sums[at] = sums[at] + vector if at in sums else vector
        for at, total in sums.items():
            number, term = terms[at]
            if number in found:
                one = Weighted(unit(total), term.weight, term.modality)
                found[number].setdefault(name.space, []).append(one)
    for number, mine in found.items():
        for space, vector in queries[number].vectors.items():
            mine.setdefault(space, []).append(Weighted(vector, 1.0))
    return {number: _wanted(mine) for number, mine in found.items()}


def _wanted(terms: Embedded) -> Embedded:
    """Return the spaces in which anything is asked for, not only asked away."""
    return {space: some for space, some in terms.items() if any(t.weight > 0 for t in some)}


def embed(query: Query, model: Model) -> dict[str, FloatArray]:
    """Return by space where a query points: (dim,) float32 of unit length."""
    return pointed(embed_many([query], model)[0])


def pointed(terms: Embedded) -> dict[str, FloatArray]:
    """Return by space where the weighted sum of terms points: (dim,) float32 of unit length."""
    return {
        space: unit(np.sum([np.float32(t.weight) * t.vector for t in some], axis=0))
        for space, some in terms.items()
    }


def alike(queries: Sequence[Query], embedded: Mapping[int, Embedded]) -> list[list[int]]:
    """Return the numbers of embedded queries, those of one kind together.

    What is asked in the same modalities and embedded in the same spaces is searched for alike.
    """
    kinds: dict[object, list[int]] = {}
    for number, vectors in embedded.items():
        query = queries[number]
        kind = (frozenset(query.inputs), frozenset(vectors), query.is_composed)
        kinds.setdefault(kind, []).append(number)
    return list(kinds.values())


def _embed_values(
    model: Model,
    name: FieldName,
    asked: Sequence[tuple[int, object]],
    queries: Sequence[int],
    failed: Failed,
) -> Iterator[tuple[int, FloatArray]]:
    """Yield for each value its term and the normalised sum of its chunks.

    Args:
        model: The model.
        name: Of the field whose encoder embeds.
        asked: Values, each with the number of its term.
        queries: For each term the number of its query.
        failed: Called with the number of a query, and why it fails.
    """
    encoder = model.encoder(name)
    sums = np.zeros((len(asked), encoder.space.dim), np.float32)
    passages = np.zeros(len(asked), np.int64)
    chunks = _prepared(name, encoder, asked, lambda term, error: failed(queries[term], error))
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
    for (term, value), count, total in zip(asked, passages, sums, strict=True):
        if count:
            yield term, unit(total)
        else:  # a film without sound, say
            reason = f"{one_line(str(value))}: there is no {name.modality} in it"
            failed(queries[term], DecodeError(reason))


def _prepared(
    name: FieldName, encoder: Encoder, asked: Sequence[tuple[int, object]], failed: Failed
) -> Iterator[tuple[int, object]]:
    """Yield the chunks of values, ready to be encoded, each with the place of its value."""
    prepare = encoder.prepare_query if isinstance(encoder, AskingEncoder) else encoder.prepare
    for place, (term, value) in enumerate(asked):
        try:
            for chunk in decoded(name, encoder, value):
                yield place, prepare(chunk)
        except DecodeError as error:
            failed(term, error)


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


def unit(vector: FloatArray) -> FloatArray:
    """Return a (dim,) vector of unit length; one of zeros as it is."""
    length = math.sqrt(vector @ vector)
    return vector / np.float32(length) if length else vector
