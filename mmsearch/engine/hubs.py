"""Banks of queries that show which vectors are hubs: near to almost anything that is asked.

Pictures are compared with texts and texts with pictures. A bank is what the index itself holds in
the asking modality, captions above all, or queries of the reference bank; of either the ones that
lie near to what is searched, so that the bank is about what the index is about.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode import Model
from mmsearch.encode.heads import unit
from mmsearch.engine.bank import query_vectors
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.store.field import Field
from mmsearch.store.files import write_file
from mmsearch.store.maintain import with_banks
from mmsearch.store.manifest import Bank, FieldInfo
from mmsearch.store.metadata import Snapshot
from mmsearch.store.writer import Writer

ASKED = {Modality.IMAGE: Modality.TEXT, Modality.TEXT: Modality.IMAGE}
"""By what is searched, what asks for it. For class names and sounds as `mini` embeds them the
correction helped less often than it harmed, within one modality it was not measured."""
LEAST = 250
"""Vectors of a field that is corrected, and of a field that is a bank for another."""
_CANDIDATES = (500, 1_000, 2_000, 4_000)
_CANDIDATES_PER_ROW = 2
"""How many texts are embedded for a field, once for each model: not many more than take as long as
the field's own vectors took."""
_SAMPLE = 1_000
_NEAREST = 2
"""Of the candidates those are taken that are among the two nearest to any of 1,000 vectors of the
field, some 500. All 4,000 gain about as much on photos of people, and harm other galleries."""
_OUTGROWN = 4
"""A bank is chosen anew when there is so many times as much to choose from, or to search."""


def keep_banks(writer: Writer, model: Model) -> None:
    """Choose banks for the fields that need some, in one commit."""
    with writer.environment.read() as transaction:
        dead = Snapshot(writer.environment, transaction).tombstones()
    fields = [
        with_banks(writer, info, [bank])
        for info in writer.manifest.fields
        for bank in _chosen(writer, model, info, dead)
    ]
    if fields:
        writer.replace_fields(fields, cleared=np.empty(0, np.int64))


def _chosen(
    writer: Writer, model: Model, info: FieldInfo, dead: NDArray[np.int64]
) -> Iterator[Bank]:
    """Yield the bank that is to replace a field's own, if one is."""
    asked = ASKED.get(info.name.modality)
    if asked is None or info.rows < LEAST:
        return
    searched = _Live.of(writer, info, dead)
    if searched.count < LEAST:
        return
    source = FieldName(info.name.space, asked)
    own = _Live.of(writer, writer.manifest.field(source), dead)
    is_own = own.count >= LEAST
    if not is_own and (asked is not Modality.TEXT or source not in model.fields(asked)):
        return
    rows = own.count if is_own else searched.count
    if any(bank.own == is_own and rows < _OUTGROWN * bank.rows for bank in info.banks):
        return
    if is_own:
        candidates = own.sample(_CANDIDATES[-1])
    else:
        enough = (n for n in _CANDIDATES if n >= _CANDIDATES_PER_ROW * rows)
        candidates = query_vectors(model.encoder(source), next(enough, _CANDIDATES[-1]))
    # Of unit length, as searches ask them; the vectors of a field may differ.
    near = _near(unit(candidates), searched.sample(_SAMPLE))
    file = write_file(writer.folder, writer.new_name("bank"), [near.astype(np.float16).tobytes()])
    yield Bank(asked, file, len(near), is_own, rows)


@dataclass(frozen=True, slots=True)
class _Live:
    """The rows of a field whose items have not been removed."""

    field: Field | None
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, writer: Writer, info: FieldInfo | None, dead: NDArray[np.int64]) -> "_Live":
        if info is None or not info.rows:
            return cls(None, np.empty(0, np.int64))
        field = Field(writer.folder, info)
        return cls(field, np.flatnonzero(~np.isin(field.owners, dead)))

    @property
    def count(self) -> int:
        return len(self.rows)

    def sample(self, count: int) -> FloatArray:
        """Return up to ``count`` evenly spaced vectors."""
        assert self.field is not None
        places = np.linspace(0, self.count - 1, min(count, self.count)).astype(np.int64)
        return self.field.gather(self.rows[places])


def _near(candidates: FloatArray, sample: FloatArray) -> FloatArray:
    """Return the candidates that are among the nearest to any vector of a sample."""
    similarities = sample @ candidates.T
    first = np.argpartition(-similarities, _NEAREST, axis=1)[:, :_NEAREST]
    return candidates[np.unique(first)]
