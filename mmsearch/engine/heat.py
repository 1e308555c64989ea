"""What of the pictures of hits fits a query, place by place."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from PIL.Image import Image

from mmsearch.encode import MappingEncoder, Model
from mmsearch.encode.heads import unit
from mmsearch.encode.seeing import no_map
from mmsearch.engine.bank import query_vectors
from mmsearch.engine.embedding import Failed, Weighted, embed_many
from mmsearch.engine.heat_map import LARGEST_PX, HeatMap
from mmsearch.engine.hubs import LEAST
from mmsearch.engine.jobs import decode_chunk
from mmsearch.engine.query import Query
from mmsearch.errors import DecodeError, UsageError
from mmsearch.records import Chunk, FieldName, FloatArray, Hit, Modality, Part
from mmsearch.search.standing import levels
from mmsearch.sources.suffixes import is_video
from mmsearch.store.reader import Background

_BANK = 500
"""Texts of the reference bank: as many as show the hubs of a small field, so that often they are
embedded already."""

Held: TypeAlias = Callable[[FieldName], FloatArray | None]
"""Gives a sample of what an index holds in a field, (n, dim) float32."""


def heat_maps(
    model: Model, hits: Sequence[Hit], query: Query, held: Held, failed: Failed
) -> list[HeatMap | None]:
    """Make the maps of hits; see :meth:`Index.heat_maps`."""
    shown = [pictured(hit) for hit in hits]
    found: list[HeatMap | None] = [None] * len(hits)
    if not any(shown):
        return found  # nothing is embedded, no network loaded
    heating = Heating(model, query, held)
    for number, picture in enumerate(shown):
        try:
            found[number] = heating(*picture) if picture else None
        except DecodeError as error:
            failed(number, error)
    return found


def pictured(hit: Hit) -> tuple[Part, Chunk] | None:
    """Return what of a hit is a picture: what matched, or else the item's first that is no video.

    Which frame of a video would go with another part is not known.
    """
    if hit.part.modality is Modality.IMAGE:
        return hit.part, hit.chunk
    pictures = (part for part in hit.item.parts if part.modality is Modality.IMAGE)
    still = next((part for part in pictures if part.path and not is_video(part.path)), None)
    return (still, Chunk()) if still else None


class Heating:
    """Makes heat maps for one query.

    Args:
        model: The index's model.
        query: What is asked.
        held: What the index holds.

    Raises:
        UsageError: The query has a vector, or shares no space with pictures.
        ModelError: The model gives no heat maps.
        DecodeError: A picture or sound that is asked with cannot be decoded.
    """

    def __init__(self, model: Model, query: Query, held: Held) -> None:
        if query.vectors:
            raise UsageError("a heat map needs a text, a picture or a sound, not a vector")
        terms = embed_many([query], model)[0]
        name = next((name for name in model.fields(Modality.IMAGE) if name.space in terms), None)
        if name is None:
            raise UsageError("the query shares no space with pictures: there are no heat maps")
        encoder = model.encoder(name)
        if not isinstance(encoder, MappingEncoder):
            raise no_map(encoder.space.checkpoint)
        self._name, self._encoder = name, encoder
        self._terms = [
            (term, _usual(model, FieldName(name.space, term.modality), held))
            for term in terms[name.space]
            if term.modality
        ]

    def __call__(self, part: Part, chunk: Chunk) -> HeatMap:
        """Make the map of a picture.

        Args:
            part: A picture or a video.
            chunk: The picture as a whole, or a frame.

        Raises:
            DecodeError: It cannot be decoded any more.
            ModelError: The model gives no heat maps.
        """
        picture = decode_chunk(part, chunk, self._name, self._encoder)
        assert isinstance(picture, Image)
        (places,) = self._encoder.maps([self._encoder.prepare(picture)])
        box = self._encoder.seen(picture.size)
        picture.thumbnail((LARGEST_PX, LARGEST_PX))
        return HeatMap(picture, heat_of(places, self._terms), box)


def heat_of(places: FloatArray, terms: Sequence[tuple[Weighted, FloatArray]]) -> FloatArray:
    """Return by how many deviations places fit a query better than what is usually asked.

    Each place has a median of its own, because some are near to whatever is asked, but all of a
    picture share one deviation: where it is small, little is to be seen, and nothing stands out.

    Args:
        places: (rows, columns, dim) float32.
        terms: What is asked for, each with (n, dim) float32 of what is usually asked, of unit
            length.

    Returns:
        (rows, columns) float32. Of several terms the weighted sum, on the scale of one: as if they
        varied independently of each other.
    """
    flat = places.reshape(-1, places.shape[2])
    total = np.zeros(len(flat), np.float32)
    for term, usual in terms:
        centres, spreads = _backgrounds(flat, usual)
        spread = np.sqrt(np.mean(spreads**2))
        total += np.float32(term.weight) * (flat @ term.vector - centres) / spread
    total /= np.float32(np.linalg.norm([term.weight for term, _ in terms]))
    return total.reshape(places.shape[:2])


def _backgrounds(places: FloatArray, usual: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return median and standard deviation of what is usually asked, for each place: (n,) each."""
    if len(usual) >= LEAST:
        cosines = places @ usual.T
        return np.median(cosines, axis=1), cosines.std(axis=1)
    few = levels(Background(np.arange(len(usual)), usual), places, None)
    centres, spreads = np.array(few, np.float32).T
    return centres, spreads


def _usual(model: Model, name: FieldName, held: Held) -> FloatArray:
    """Return what is usually asked in a modality: the reference bank, or what the index holds."""
    if name.modality is Modality.TEXT:
        return unit(query_vectors(model.encoder(name), _BANK))
    vectors = held(name)
    return np.zeros((0, 0), np.float32) if vectors is None else unit(vectors)
