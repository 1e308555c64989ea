"""Near-duplicates among hits: a photo that was saved twice, made smaller, or copied."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmsearch.config import DecodeLimits
from mmsearch.decode.image import decode_image
from mmsearch.encode.heads import unit
from mmsearch.engine.chunks import EmbeddedChunk
from mmsearch.errors import DecodeError
from mmsearch.records import FloatArray, Modality
from mmsearch.store.reader import View

WIDER = 4
"""So many times as many hits are looked at, so that enough are left."""
_SAME = 0.98
"""Cosine from which on two embeddings are of the same thing. Of 1,000 photos and `mini-1`, the
nearest other photo is below 0.95 for 99 of 100."""
_BITS = 8
"""Of 64 bits of their hashes, in how many pictures may differ: 98 of 100 that were saved again or
at half the size do not differ in more, and none of 499,500 pairs of photos in so few."""
_SIDE = 64


@dataclass
class Folding:
    """Folds the hits of searches of one commit; what it has looked at is remembered.

    Attributes:
        view: The commit.
        load: From a chunk's id to what it is.
    """

    view: View
    load: Callable[[int], EmbeddedChunk]
    _hashes: dict[str, NDArray[np.bool_] | None] = field(default_factory=dict)

    def fold(self, chunk_ids: Sequence[int], k: int) -> Mapping[int, list[int]]:
        """Return the places of the first ``k`` that differ, and of each those that are like it.

        Args:
            chunk_ids: Of hits, best first.
            k: How many to keep.
        """
        vectors, kept = self._vectors(chunk_ids), dict[int, list[int]]()
        for place in range(len(chunk_ids)):
            like = (one for one in kept if self._is_same(chunk_ids, vectors, one, place))
            first = next(like, None)
            if first is not None:
                kept[first].append(place)
            elif len(kept) < k:
                kept[place] = []
        return kept

    def _vectors(self, chunk_ids: Sequence[int]) -> Mapping[int, FloatArray]:
        """Return by chunk id its vector in the first field that has it, of unit length."""
        found: dict[int, FloatArray] = {}
        for one in self.view.state.fields.values():
            rows = one.find(np.array(sorted(chunk_ids), np.int64))
            vectors = unit(one.gather(rows))
            for chunk_id, vector in zip(one.ids[rows].tolist(), vectors, strict=True):
                found.setdefault(chunk_id, vector)
        return found

    def _is_same(
        self,
        chunk_ids: Sequence[int],
        vectors: Mapping[int, FloatArray],
        one: int,
        other: int,
    ) -> bool:
        pair = chunk_ids[one], chunk_ids[other]
        first, second = (self.load(chunk_id) for chunk_id in pair)
        if first.part.modality is not second.part.modality:
            return False
        if float(vectors[pair[0]] @ vectors[pair[1]]) >= _SAME:
            return True
        hashes = [self._hash(chunk) for chunk in (first, second)]
        return _differ(*hashes) <= _BITS

    def _hash(self, chunk: EmbeddedChunk) -> NDArray[np.bool_] | None:
        """The hash of a picture; None of anything else, and where its file is gone."""
        path, is_whole = chunk.part.path, chunk.chunk.start is None
        if chunk.part.modality is not Modality.IMAGE or path is None or not is_whole:
            return None
        if path not in self._hashes:
            self._hashes[path] = _read(path)
        return self._hashes[path]


def _read(path: str) -> NDArray[np.bool_] | None:
    try:
        picture = decode_image(path, DecodeLimits(), min_side=_SIDE)
    except DecodeError:
        return None
    return difference_hash(np.asarray(picture.convert("L").resize((9, 8), reducing_gap=2)))


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether each of 8 x 9 grey pixels is darker than the next: (64,) bool.

    dHash: N. Krawetz, "Kind of Like That", 2013.
    """
    return (pixels[:, :-1] < pixels[:, 1:]).ravel()


def _differ(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> int:
    """In how many bits two hashes differ; more than any if one is missing."""
    return 65 if one is None or other is None else int(np.count_nonzero(one != other))
