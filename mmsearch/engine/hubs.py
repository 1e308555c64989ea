"""Banks of queries that show which vectors are hubs: near to almost anything that is asked.

Pictures are compared with texts and texts with pictures. A bank is what the index itself holds in
the asking modality, captions above all, or queries of the reference bank; of either the ones that
lie near to what is searched, so that the bank is about what the index is about.
"""

from collections.abc import Iterator

import numpy as np

from mmsearch.encode import Model
from mmsearch.engine.bank import query_vectors
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.store.field import Field
from mmsearch.store.files import write_file
from mmsearch.store.maintain import with_banks
from mmsearch.store.manifest import Bank, FieldInfo
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


def keep_banks(writer: Writer, model: Model) -> None:
    """Choose banks for the fields that need some, in one commit."""
    fields = [
        with_banks(writer, info, [bank])
        for info in writer.manifest.fields
        for bank in _chosen(writer, model, info)
    ]
    if fields:
        writer.replace_fields(fields, cleared=np.empty(0, np.int64))


def _chosen(writer: Writer, model: Model, info: FieldInfo) -> Iterator[Bank]:
    """Yield the bank that is to replace a field's own, if one is."""
    asked = ASKED.get(info.name.modality)
    if asked is None or info.rows < LEAST:
        return
    source = FieldName(info.name.space, asked)
    own = writer.manifest.field(source)
    if own is not None and own.rows < LEAST:
        own = None
    if own is None and (asked is not Modality.TEXT or source not in model.fields(asked)):
        return
    for bank in info.banks:
        if bank.own == (own is not None) and info.rows < _OUTGROWN * bank.rows:
            return
    if own is not None:
        candidates = _spaced(Field(writer.folder, own), _CANDIDATES[-1])
    else:
        enough = (n for n in _CANDIDATES if n >= _CANDIDATES_PER_ROW * info.rows)
        candidates = query_vectors(model.encoder(source), next(enough, _CANDIDATES[-1]))
    near = _near(candidates, _spaced(Field(writer.folder, info), _SAMPLE))
    file = write_file(writer.folder, writer.new_name("bank"), [near.astype(np.float16).tobytes()])
    yield Bank(asked, file, len(near), own is not None, info.rows)


def _spaced(field: Field, count: int) -> FloatArray:
    """Return up to ``count`` evenly spaced vectors of a field."""
    rows = np.linspace(0, field.rows - 1, min(count, field.rows)).astype(np.int64)
    return field.gather(rows)


def _near(candidates: FloatArray, sample: FloatArray) -> FloatArray:
    """Return the candidates that are among the nearest to any vector of a sample."""
    similarities = sample @ candidates.T
    first = np.argpartition(-similarities, _NEAREST, axis=1)[:, :_NEAREST]
    return candidates[np.unique(first)]
