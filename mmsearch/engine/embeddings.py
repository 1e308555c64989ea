"""A sample of the vectors that an index holds, with what each of them stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.chunks import EmbeddedChunk, load_chunk
from mmsearch.engine.searching import allowed_items
from mmsearch.errors import UsageError
from mmsearch.records import FieldName, FloatArray
from mmsearch.store.catalog import Catalog
from mmsearch.store.reader import View

Rows: TypeAlias = Mapping[FieldName, NDArray[np.int64]]
"""For each field the rows to choose from, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of one space, of all its modalities.

    Attributes:
        index: The index's folder.
        space: The name of the space.
        total: How many vectors of it there were to choose from.
        chunks: What the vectors stand for, a row each.
        vectors: (n, dim) float32, as the encoder made them, up to float16.
    """

    index: Path
    space: str
    total: int
    chunks: tuple[EmbeddedChunk, ...]
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which vectors, and how many at most; see ``Index.embeddings``."""

    space: str | None
    limit: int
    where: str | None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise UsageError(f"limit is {self.limit}; ask for at least one vector")


def sample(view: View, catalog: Catalog, wanted: Wanted) -> Embeddings:
    """Return vectors evenly spaced over all that are wanted; memory grows with the limit only."""
    allowed = allowed_items(view, catalog, wanted.where)
    fields = sorted(view.state.fields)
    rows = {name: np.flatnonzero(allowed[view.state.fields[name].owners]) for name in fields}
    space = _space(view, rows, wanted)
    rows = {name: mine for name, mine in rows.items() if name.space == space}
    total = _count(rows, space)
    chunks: list[EmbeddedChunk] = []
    vectors: list[FloatArray] = []
    for name, chosen in _evenly(rows, min(wanted.limit, total)):
        field = view.state.fields[name]
        chunks.extend(load_chunk(view, int(chunk_id)) for chunk_id in field.ids[chosen])
        vectors.append(field.gather(chosen))
    return Embeddings(view.folder, space, total, tuple(chunks), np.concatenate(vectors))


def _space(view: View, rows: Rows, wanted: Wanted) -> str:
    """Return the space that is asked for, or the one with most vectors.

    Raises:
        UsageError: There is no such space, or no vector in it.
    """
    names = [space.name for space in view.manifest.spaces]
    if wanted.space is not None and wanted.space not in names:
        raise UsageError(
            f"{view.folder}: there is no space {wanted.space!r}; there are {', '.join(names)}"
        )
    space = wanted.space or max(names, key=lambda name: _count(rows, name))
    if not _count(rows, space):
        raise UsageError(f"{view.folder}: {_nothing(wanted)}")
    return space


def _nothing(wanted: Wanted) -> str:
    if wanted.where is not None:
        return f"no vector's item satisfies {wanted.where!r}"
    if wanted.space is not None:
        return f"space {wanted.space!r} holds nothing yet"
    return "holds nothing yet; `mmsearch index PATH` adds to it"


def _count(rows: Rows, space: str) -> int:
    return sum(len(mine) for name, mine in rows.items() if name.space == space)


def _evenly(rows: Rows, count: int) -> Iterator[tuple[FieldName, NDArray[np.int64]]]:
    """Choose rows at equal distances over all fields together: each keeps its share."""
    ends = np.cumsum([len(mine) for mine in rows.values()])
    places = np.linspace(0, ends[-1] - 1, count).astype(np.int64)
    shares = np.split(places, np.searchsorted(places, ends[:-1]))
    for (name, mine), share, end in zip(rows.items(), shares, ends, strict=True):
        yield name, mine[share - (end - len(mine))]
