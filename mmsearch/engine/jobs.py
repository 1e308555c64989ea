"""One item on its way from its source to a commit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmsearch.config import InputLimits
from mmsearch.decode import Decoded, decode_part
from mmsearch.encode import Encoder, Model
from mmsearch.errors import DecodeError, MMSearchError, one_line
from mmsearch.records import Chunk, Failure, FieldName, FloatArray, Item, Modality, Part
from mmsearch.store.metadata import MAX_CHUNKS
from mmsearch.store.writer import Entry


@dataclass(slots=True)
class Job:
    """An item being decoded and encoded.

    Attributes:
        item: The item.
        fingerprint: See :func:`mmsearch.engine.fingerprint.fingerprint`.
        contents: See :func:`mmsearch.engine.fingerprint.contents`; set by a worker.
        previous: The id of the version in the index.
        moved: Whether an item that vanished had the same contents.
        reused: Whether the vectors are another item's.
        replaces: Ids of the items that this one takes the place of.
        chunks: For each part the stretches that were decoded.
        passages: Texts of the chunks of text files, by chunk ordinal.
        vectors: For each field one (dim,) float16 row a chunk, in order; None until encoded.
        failures: What went wrong in single parts.
        missing: How many vectors the encoder still owes; only its thread counts.
        decoded: Whether all chunks have been decoded.
    """

    item: Item
    fingerprint: str
    previous: int | None
    contents: str = ""
    moved: bool = False
    reused: bool = False
    replaces: list[int] = field(default_factory=list)
    chunks: list[tuple[Chunk, ...]] = field(default_factory=list)
    passages: dict[int, str] = field(default_factory=dict)
    vectors: dict[FieldName, list[Any]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    missing: int = 0
    decoded: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing is to be waited for."""
        return self.decoded and self.missing == 0

    def expect(self, name: FieldName, value: Any) -> "Prepared":
        """Keep a place for the vector of a prepared chunk."""
        rows = self.vectors.setdefault(name, [])
        rows.append(None)
        return Prepared(self, name, len(rows) - 1, value)

    def fill(self, name: FieldName, row: int, vector: FloatArray) -> None:
        """Set one vector."""
        self.vectors[name][row] = vector.astype(np.float16)
        self.missing -= 1

    def fail(self, reason: str) -> None:
        """Note what went wrong, once: both parts of a video fail alike."""
        failure = Failure(self.item.source, reason, self.item.row)
        if failure not in self.failures:
            self.failures.append(failure)

    def entry(self) -> Entry:
        """Return what is stored."""
        return Entry(
            item=self.item,
            chunks=tuple(self.chunks),
            vectors={name: np.stack(rows) for name, rows in self.vectors.items() if rows},
            passages=self.passages,
            fingerprint=self.fingerprint,
            contents=self.contents,
            replaces=tuple(self.replaces),
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """One chunk, ready for an encoder: ``row`` of the job's vectors in ``name`` waits for it."""

    job: Job
    name: FieldName
    row: int
    value: Any


def prepare(job: Job, model: Model) -> Iterator[Prepared]:
    """Decode the parts of an item and preprocess their chunks.

    A part that fails is noted in the job; the others go on.
    """
    for part in job.item.parts:
        chunks: list[Chunk] = []
        try:
            yield from _prepare_part(job, part, model, chunks)
        except DecodeError as error:
            job.fail(str(error))  # what was decoded before the damage is kept
        except MMSearchError:
            raise  # no fault of the file: the model cannot be loaded, the device is not there
        except Exception as error:  # whatever a decoder throws must cost one part, not the run
            job.fail(f"{part.path or part.role}: {type(error).__name__}: {error}")
        job.chunks.append(tuple(chunks))
    if not job.vectors and not job.failures:
        job.fail("nothing in it can be embedded by this model")


def _prepare_part(job: Job, part: Part, model: Model, chunks: list[Chunk]) -> Iterator[Prepared]:
    encoders = [(name, model.encoder(name)) for name in model.fields(part.modality)]
    if not encoders:
        return
    start = sum(map(len, job.chunks))
    for chunk, decoded in decode_for(part, encoders):
        if start + len(chunks) >= MAX_CHUNKS - 1:
            raise DecodeError(f"{part.path}: more than {MAX_CHUNKS - 2} chunks; split it")
        values = [(name, encoder.prepare(decoded)) for name, encoder in encoders]
        if part.modality is Modality.TEXT and part.path:
            job.passages[start + len(chunks)] = str(decoded)
        chunks.append(chunk)
        for name, value in values:
            yield job.expect(name, value)


def decode_for(
    part: Part, encoders: Sequence[tuple[FieldName, Encoder]]
) -> Iterator[tuple[Chunk, Decoded]]:
    """Decode a part within the limits that suit all encoders of its modality."""
    shared = InputLimits.shared([encoder.limits for _, encoder in encoders])
    return decode_part(
        part, shared, lambda text: all(encoder.fits(text) for _, encoder in encoders)
    )


def decode_chunk(part: Part, wanted: Chunk, name: FieldName, encoder: Encoder) -> Decoded:
    """Decode one stretch of a part again, as it was embedded.

    Raises:
        DecodeError: The part cannot be decoded, or has no such stretch any more.
    """
    for chunk, decoded in decode_for(part, [(name, encoder)]):
        if chunk == wanted:
            return decoded
    raise DecodeError(f"{one_line(part.path or part.role)}: it has changed since it was indexed")
