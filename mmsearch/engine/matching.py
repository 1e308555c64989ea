"""A cross-encoder looks at the first pictures that a text has found, or texts that a picture has.

Chosen with ``itm:CHECKPOINT`` as the scorer; see :mod:`mmsearch.encode.itm`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.config import InputLimits
from mmsearch.decode import Decoded, decode_part
from mmsearch.encode.itm import PREFIX, Matcher, Matchers
from mmsearch.engine.chunks import load_chunk
from mmsearch.engine.query import Query
from mmsearch.errors import DecodeError
from mmsearch.records import Chunk, FloatArray, Modality, Part
from mmsearch.store.reader import View

_MATCHED = {Modality.TEXT: Modality.IMAGE, Modality.IMAGE: Modality.TEXT}


@dataclass(frozen=True, slots=True)
class Matching:
    """A cross-encoder for one query.

    Attributes:
        matcher: It.
        asked: What the query is given in: a text, or a picture.
        value: The text, or a path or an RGB picture of Pillow's.
    """

    matcher: Matcher
    asked: Modality
    value: object

    @property
    def searched(self) -> Modality:
        """What it looks at."""
        return _MATCHED[self.asked]

    def log_odds(self, view: View, chunk_ids: NDArray[np.int64]) -> FloatArray:
        """Return the log-odds that chunks match the query, (n,) float32.

        Pictures are read again; where a file is gone or damaged it is NaN.

        Args:
            view: The index.
            chunk_ids: (n,) int64, of what it looks at.
        """
        again = enumerate(self._again(view, int(chunk_id)) for chunk_id in chunk_ids)
        there = {number: value for number, value in again if value is not None}
        found = np.full(len(chunk_ids), np.nan, np.float32)
        if there:
            found[[*there]] = self._match([*there.values()])
        return found

    def _match(self, values: Sequence[Decoded]) -> FloatArray:
        if self.asked is Modality.TEXT:
            return self.matcher.log_odds([*map(self._prepared, values)], [str(self.value)])
        return self.matcher.log_odds([self._prepared(self._asked())], [*map(str, values)])

    def _prepared(self, picture: Decoded) -> FloatArray:
        assert isinstance(picture, Image.Image)
        return self.matcher.processor().picture(picture)

    def _asked(self) -> Image.Image:
        """The picture that is asked with; of a video the first scene."""
        if isinstance(self.value, Image.Image):
            return self.value.convert("RGB")
        assert isinstance(self.value, str | os.PathLike)
        path = os.path.abspath(os.path.expanduser(os.fsdecode(self.value)))
        _, picture = next(self._pictures(Part("query", Modality.IMAGE, path=path)))
        assert isinstance(picture, Image.Image)
        return picture

    def _again(self, view: View, chunk_id: int) -> Decoded | None:
        """A passage, or a picture as its file has it; None where that cannot be read."""
        known = load_chunk(view, chunk_id)
        if known.part.modality is Modality.TEXT:
            return known.text
        try:
            pictures = self._pictures(known.part)
            return next((picture for chunk, picture in pictures if chunk == known.chunk), None)
        except DecodeError:
            return None

    def _pictures(self, part: Part) -> Iterator[tuple[Chunk, Decoded]]:
        """The pictures of a part, large enough for the network."""
        limits = InputLimits(image_side=2 * self.matcher.processor().side)
        return decode_part(part, limits, bool)


def matcher_of(matchers: Matchers, rerank: str) -> Matcher | None:
    """Return the matcher that a scorer's name asks for, with its weights loaded.

    Raises:
        ModelError: It cannot be loaded, or is something else.
    """
    kind, _, checkpoint = rerank.partition(":")
    if kind != PREFIX:
        return None
    matcher = matchers.of(checkpoint)
    matcher.network()  # not while a transaction is open
    return matcher


def matching(matcher: Matcher | None, query: Query) -> Matching | None:
    """What matches a query with its first candidates: one text, or one picture."""
    if matcher is None or query.is_composed or query.vectors:
        return None
    ((asked, values),) = query.inputs.items()
    return Matching(matcher, asked, values[0]) if asked in _MATCHED else None
