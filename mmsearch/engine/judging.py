"""A model's re-ranker looks at the first candidates of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode import LocalEncoder, Model
from mmsearch.encode.rerank import Reranker, Sight
from mmsearch.engine.chunks import load_chunk
from mmsearch.engine.embedding import decoded
from mmsearch.engine.jobs import decode_chunk
from mmsearch.engine.query import Query
from mmsearch.errors import DecodeError
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.probing import Judge
from mmsearch.store.field import Field
from mmsearch.store.reader import View


@dataclass
class Judging:
    """The re-ranker of a model, for one query.

    Attributes:
        model: Has a re-ranker.
        reranker: It.
        query: Of one modality.
        vectors: By space the query's (dim,) float32 vector.
    """

    model: Model
    reranker: Reranker
    query: Query
    vectors: Mapping[str, FloatArray]

    @cached_property
    def modality(self) -> Modality:
        """What is asked with."""
        return next(iter(self.query.inputs))

    def judge(self, view: View, name: FieldName, field: Field) -> Judge | None:
        """What judges candidates of a field; None where the re-ranker does not know its kind."""
        if not self.reranker.covers(self.modality, name):
            return None

        def look(chunk_ids: NDArray[np.int64]) -> FloatArray:
            vectors = field.gather(field.find(chunk_ids))
            if not self.reranker.local:
                return self._judge(name, [Sight(vector) for vector in vectors])
            return self._judge_places(view, name, chunk_ids, vectors)

        return Judge(look, self.reranker.depth)

    def _judge(self, name: FieldName, sights: Sequence[Sight]) -> FloatArray:
        return self.reranker.judge(self.modality, self._asked(name.space), name, sights)

    def _asked(self, space: str) -> Sight:
        """The query, with its places where they are looked at."""
        if not self.reranker.local:
            return Sight(self.vectors[space])
        name = FieldName(space, self.modality)
        encoder = self.model.encoder(name)
        assert isinstance(encoder, LocalEncoder)
        (value,) = self.query.inputs[self.modality]
        first = next(decoded(name, encoder, value))
        return Sight(self.vectors[space], encoder.places([encoder.prepare(first)])[0])

    def _judge_places(
        self, view: View, name: FieldName, chunk_ids: NDArray[np.int64], vectors: FloatArray
    ) -> FloatArray:
        """Decode the candidates again; those whose file is gone keep their cosine."""
        encoder = self.model.encoder(name)
        assert isinstance(encoder, LocalEncoder)
        again = enumerate(_again(view, name, encoder, chunk_ids))
        prepared = {number: value for number, value in again if value is not None}
        added = np.zeros(len(chunk_ids), np.float32)
        if prepared:
            places = encoder.places(list(prepared.values()))
            sights = [Sight(vectors[n], rows) for n, rows in zip(prepared, places, strict=True)]
            added[list(prepared)] = self._judge(name, sights)
        return added


def judging(model: Model, query: Query, vectors: Mapping[str, FloatArray]) -> Judging | None:
    """What judges a query's candidates: none without a re-ranker, or for a composed query.

    None for given vectors, either: they do not say of which modality they are.
    """
    if model.reranker is None or query.is_composed or query.vectors:
        return None
    return Judging(model, model.reranker, query, vectors)


def _again(
    view: View, name: FieldName, encoder: LocalEncoder, chunk_ids: NDArray[np.int64]
) -> list[Any]:
    """Each chunk decoded and prepared anew; None where that fails."""
    found = []
    for chunk_id in chunk_ids:
        known = load_chunk(view, int(chunk_id))
        try:
            found.append(encoder.prepare(decode_chunk(known.part, known.chunk, name, encoder)))
        except DecodeError:
            found.append(None)
    return found
