"""The words of the project as immutable records: modality, item, part, chunk, space, hit."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError

FloatArray: TypeAlias = NDArray[np.float32]
Scalar: TypeAlias = str | int | float | bool | None
ColumnValue: TypeAlias = Scalar | tuple[Scalar, ...]
"""What a column holds: a JSON scalar, or a flat list of them (``tags``)."""


_QUOTED = 200
"""Characters of a passage that an explanation shows."""


class Modality(StrEnum):
    """What kind of signal a part carries; a video has two parts, its pictures and its sound."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a part that is embedded.

    Attributes:
        start: Seconds for sounds and frames of videos, character offset for text, ``None`` for a
            whole picture.
        end: The end of the stretch (exclusive), in the unit of ``start``.
    """

    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One modality of an item: a file, or a text given in place.

    Attributes:
        role: What the part is to its item: ``file`` or ``video``, or the column it came from.
        modality: What the part carries.
        path: The file, absolute, as ``os.fsdecode`` gives it (names need not be UTF-8).
        text: The text itself, for a text part without a file.
    """

    role: str
    modality: Modality
    path: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.text is None):
            raise UsageError(f"part {self.role!r}: give either a path or a text")
        if self.text is not None and self.modality is not Modality.TEXT:
            raise UsageError(f"part {self.role!r}: a part of {self.modality} needs a path")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a person wants to find: a file, or a manifest row.

    Attributes:
        source: Absolute path of the file, or of the manifest that lists the item; any name that
            is unique in the index for items that a program makes.
        parts: The item's parts, at least one.
        row: The manifest row: its ``id`` column, else its number. ``None`` for a file.
        columns: Metadata.
        id: The index's number for this version of the item; ``None`` before it is indexed.
    """

    source: str
    parts: tuple[Part, ...]
    row: str | None = None
    columns: Mapping[str, ColumnValue] = field(default_factory=lambda: MappingProxyType({}))
    id: int | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise UsageError(f"item {self.source!r}: an item needs at least one part")

    @property
    def key(self) -> bytes:
        """What identifies the item in an index, through all its versions."""
        return item_key(self.source, self.row)

    @property
    def path(self) -> Path:
        """The file that best stands for the item: its first part's, else its source."""
        return Path(self.file)

    @property
    def file(self) -> str:
        """The same as a string, as ``os.fsdecode`` gives it."""
        return next((part.path for part in self.parts if part.path), self.source)

    @property
    def name(self) -> str:
        """What to call the item in a list: its title, else its file's name and row."""
        title = self.columns.get("title")
        if isinstance(title, str) and title:
            return title
        name = os.path.basename(self.file)
        if self.row is None or any(part.path for part in self.parts):
            return name
        return f"{name}:{self.row}"


def item_key(source: str, row: str | None = None) -> bytes:
    """Return the SHA-256 of source and row: LMDB keys end at 511 bytes, paths do not."""
    suffix = b"" if row is None else b"\0" + os.fsencode(row)
    return hashlib.sha256(os.fsencode(source) + suffix).digest()


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be indexed, and why.

    Attributes:
        source: The file or manifest.
        reason: One line that says what is wrong.
        row: The manifest row, if it is one.
    """

    source: str
    reason: str
    row: str | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of decoded sound.

    Attributes:
        samples: (n,) float32, mono, nominally within -1 to 1.
        sample_rate_hz: The file's own sample rate; encoders resample.
    """

    samples: FloatArray
    sample_rate_hz: int


@dataclass(frozen=True, slots=True)
class Space:
    """A vector space whose embeddings compare by inner product.

    Attributes:
        name: Short name, unique in its model.
        dim: Number of dimensions.
        normalized: Whether embeddings have unit length.
        checkpoint: Where the weights come from; a space that has moved is the same space.
        sha256: Hex digest of the weights and of the preprocessing.
    """

    name: str
    dim: int
    normalized: bool
    checkpoint: str = field(compare=False)
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.checkpoint}, {self.sha256[:12]})"


def named(spaces: Iterable[Space]) -> str:
    """Return the spaces of a model as messages name them."""
    return ", ".join(map(str, spaces))


@dataclass(frozen=True, slots=True, order=True)
class FieldName:
    """All vectors of one (space, modality) in an index."""

    space: str
    modality: Modality

    def __str__(self) -> str:
        return f"{self.space}.{self.modality}"


@dataclass(frozen=True, slots=True)
class Hit:
    """One item found by a search.

    Attributes:
        rank: 1 for the best.
        score: The fusion scorer's value; rises with relevance.
        relevance: The probability that the hit is relevant (docs/ranking.md).
        item: The item.
        part: The part that matched.
        chunk: The stretch of the part that matched.
        text: The matching passage, for a text part.
        signals: What spoke for the hit, by name: ``cosine``; ``standing``, by how many deviations
            it stands above the index's other vectors; ``lexical``; ``hubness``, ``judged`` and
            ``itm`` where they count.
        approximate: Whether query and hit share no space, so that texts stood between them.
        shares: What the score is the sum of, by name.
        duplicates: Items that are near-duplicates of it, where they were to be folded.
    """

    rank: int
    score: float
    relevance: float | None
    item: Item
    part: Part
    chunk: Chunk
    text: str | None
    signals: Mapping[str, float]
    approximate: bool = False
    shares: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    duplicates: tuple[Item, ...] = ()

    def explain(self) -> list[str]:
        """Return why the hit stands where it does, a line each."""
        signals = self.signals
        made_of = " + ".join(f"{name} {value:.3f}" for name, value in self.shares.items())
        lines = [f"score {self.score:.3f} = {made_of.replace('+ -', '- ')}" if made_of else ""]
        if "standing" in signals:
            less = f", less {signals['hubness']:.3f} for hubness" if "hubness" in signals else ""
            lines.append(
                f"cosine {signals['cosine']:.3f}{less}: {signals['standing']:.1f} deviations above "
                f"the index's {self.part.modality}s"
            )
        if signals.get("lexical"):
            lines.append(f"words: {signals['lexical']:.1%} of what BM25 could be")
        if "judged" in signals:
            lines.append(f"the model's re-ranker adds {signals['judged']:.3f}")
        if "itm" in signals:
            lines.append(f"the cross-encoder has log-odds of {signals['itm']:.3f} for a match")
        lines.append(self._best())
        if self.approximate:
            lines.append("query and hit share no space: texts stand between them")
        if self.duplicates:
            names = ", ".join(item.name for item in self.duplicates)
            lines.append(f"stands for {len(self.duplicates)} more that are like it: {names}")
        return [line for line in lines if line]

    def _best(self) -> str:
        """Return which stretch of its part matched: a passage, seconds of a sound or a video."""
        start, end = self.chunk.start, self.chunk.end
        if self.text is not None:
            at = "" if start is None or end is None else f" (characters {start:.0f} to {end:.0f})"
            text = " ".join(self.text.split())
            return f"best passage{at}: {text[:_QUOTED]}{'…' if len(text) > _QUOTED else ''}"
        if start is None:
            return ""
        part = "sound" if self.part.modality is Modality.AUDIO else "video"
        return f"best in its {part}: {start:.1f}{'' if end is None else f' to {end:.1f}'} s"
