"""Embeddings of frozen encoders, made once and kept in numbered files."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encode import Encoder, Model
from mmsearch.encode.batching import Batching
from mmsearch.encode.heads import unit
from mmsearch.engine.jobs import decode_for
from mmsearch.errors import MMSearchError
from mmsearch.records import Failure, FieldName, FloatArray, Modality, Part
from mmsearch.train.files import save_array

CHUNK = 1024
MAX_WINDOWS = 12
"""Stretches of a long part that count: two minutes of sound."""


@dataclass(frozen=True)
class Features:
    """What a model says of the parts of one modality.

    Attributes:
        fields: For each of the model's fields (parts, dim) float32, rows of unit length; zeros
            where a part could not be decoded.
        failures: Those parts.
    """

    fields: dict[FieldName, FloatArray]
    failures: list[Failure]

    @cached_property
    def joined(self) -> FloatArray:
        """(parts, sum of dims) float32, the fields side by side."""
        return np.concatenate(list(self.fields.values()), axis=1)

    @property
    def usable(self) -> Any:
        """(parts,) bool: which parts were decoded."""
        return np.abs(self.joined).sum(axis=1) > 0


def embed_parts(
    parts: Sequence[Part],
    modality: Modality,
    model: Model,
    folder: Path,
    tell: Callable[[str], None],
) -> Features:
    """Embed parts with every encoder of a modality, or read what an earlier run has embedded.

    Args:
        parts: All of one modality.
        modality: Theirs.
        model: The frozen model.
        folder: Where the files are kept; those of other parts or weights are not mixed up.
        tell: Called with a line for each file that is written.
    """
    fields = {}
    failures: dict[int, Failure] = {}
    for name in model.fields(modality):
        encoder = model.encoder(name)
        home = folder / f"{name}-{digest(parts, encoder.space.sha256)}"
        rows = []
        for at in range(0, len(parts), CHUNK):
            path = home / f"{at:08d}.npy"
            if not path.exists():
                save_array(path, _embed(parts[at : at + CHUNK], name, encoder))
                tell(f"{name}: {min(at + CHUNK, len(parts)):,} of {len(parts):,} done")
            rows.append(np.load(path, allow_pickle=False))
        fields[name] = np.concatenate(rows)
        for row in np.flatnonzero(~fields[name].any(axis=1)).tolist():
            failures.setdefault(row, _failure(parts[row], name, encoder))
    return Features(fields, list(failures.values()))


def _embed(parts: Sequence[Part], name: FieldName, encoder: Encoder) -> FloatArray:
    """(n, dim) float32: for each part the mean of its stretches, at unit length."""
    sums = np.zeros((len(parts), encoder.space.dim), np.float32)
    waiting: list[tuple[int, Any]] = []
    batching = Batching(encoder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        work = partial(prepared, name=name, encoder=encoder)
        for number, values in enumerate(pool.map(work, parts)):
            waiting += [(number, value) for value in values]
            while len(waiting) >= batching.size:
                batch, waiting = waiting[: batching.size], waiting[batching.size :]
                _add(sums, batch, batching)
    if waiting:
        _add(sums, waiting, batching)
    return unit(sums)


def _add(sums: FloatArray, batch: Sequence[tuple[int, Any]], embed: Batching) -> None:
    np.add.at(sums, [at for at, _ in batch], embed([value for _, value in batch]))


def prepared(part: Part, name: FieldName, encoder: Encoder) -> list[Any]:
    """The stretches of a part, ready for the encoder; none if it cannot be decoded."""
    try:
        return list(_stretches(part, name, encoder))
    except MMSearchError:
        return []


def _stretches(part: Part, name: FieldName, encoder: Encoder) -> Iterator[Any]:
    for number, (_, decoded) in enumerate(decode_for(part, [(name, encoder)])):
        if number == MAX_WINDOWS:
            return
        yield encoder.prepare(decoded)


def _failure(part: Part, name: FieldName, encoder: Encoder) -> Failure:
    """Why a part has no embedding."""
    source = part.path or str(part.text)
    try:
        found = list(_stretches(part, name, encoder))
    except MMSearchError as error:
        return Failure(source, str(error))
    return Failure(source, "its embedding is zero" if found else "nothing in it can be embedded")


def digest(parts: Sequence[Part], maker: str) -> str:
    """What is made of parts depends on: the maker, and the files' contents as far as times say."""
    found = hashlib.sha256(maker.encode())
    for part in parts:
        found.update(repr((part.path, part.text, _stat(part))).encode(errors="surrogateescape"))
    return found.hexdigest()[:16]


def _stat(part: Part) -> tuple[int, int] | None:
    if part.path is None:
        return None
    try:
        found = os.stat(part.path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
