"""The manifest: the one record that says what an index consists of at a commit."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mmsearch.errors import IndexFormatError
from mmsearch.records import FieldName, Modality, Space
from mmsearch.store.files import FileInfo

FORMAT = 4
_OTHER_CODES = 3
"""Up to this format codes lay in the order of rows. Such a field is searched exactly until the next
writer trains it anew."""
EXACT = "exact"
"""The recipe of a field without a codebook."""


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """An immutable set of vectors of one field.

    Attributes:
        vectors: The file with the chunk ids and the float16 vectors.
        codes: The file with FAISS's codes of the same rows, once the field has a codebook.
        rows: How many vectors.
        last_id: The highest chunk id.
        nearness: For each bank of the field, the file that says how near the same rows are to it.
    """

    vectors: FileInfo
    codes: FileInfo | None
    rows: int
    last_id: int
    nearness: tuple[FileInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """What a setting has found of the exact 10 nearest.

    Attributes:
        nprobe: Inverted lists that were looked into.
        depth: Candidates that were scored exactly.
        reach: What the spread of a list counted.
        ann_recall: ann_recall_at_10, the mean over the queries.
    """

    nprobe: int
    depth: int
    reach: float
    ann_recall: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a field is searched for queries of one modality, and what that promises.

    Attributes:
        asked: The queries' modality.
        nprobe: Inverted lists to look into.
        depth: Candidates to score exactly.
        reach: What the spread of a list counts.
        target: The ann_recall_at_10 that was asked for.
        promised: That of this setting, on queries that it was not chosen by.
        queries: How many it was chosen by, and as many promised on.
        rows: What the field held.
        recipe: That of the field; with another one the setting means nothing.
        codebook: The codebook's file; trained anew, it keeps the setting but not the promise.
        curve: All that was measured, on the queries that it was chosen by.
    """

    asked: Modality
    nprobe: int
    depth: int
    reach: float
    target: float
    promised: float
    queries: int
    rows: int
    recipe: str
    codebook: str
    curve: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Bank:
    """Queries of one modality that stand for what a field is asked.

    Attributes:
        asked: The queries' modality.
        vectors: The file with their vectors, (queries, dim) float16.
        queries: How many.
        own: Whether they are vectors of the index itself, not of the reference bank.
        rows: How many vectors it was chosen from, if it is the index's own, else for.
    """

    asked: Modality
    vectors: FileInfo
    queries: int
    own: bool
    rows: int


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """All vectors of one (space, modality).

    Attributes:
        name: Which space and modality.
        dim: Number of dimensions.
        segments: In the order of their chunk ids, which do not overlap.
        codebook: The trained, empty FAISS index; ``None`` while the field is searched exactly.
        recipe: FAISS factory string of the codebook, ``"exact"`` without one.
        trained_rows: How many rows the field had when its codebook was trained.
        tunings: For queries of some modalities, how to search it.
        banks: For queries of some modalities, what they usually are.
        chosen: The recipe, where tuning chose it; ``None``: as planned.
    """

    name: FieldName
    dim: int
    segments: tuple[SegmentInfo, ...] = ()
    codebook: FileInfo | None = None
    recipe: str = EXACT
    trained_rows: int = 0
    tunings: tuple[Tuning, ...] = ()
    banks: tuple[Bank, ...] = ()
    chosen: str | None = None

    @property
    def rows(self) -> int:
        """Vectors on disk, those of deleted items included."""
        return sum(segment.rows for segment in self.segments)

    def bare(self) -> "FieldInfo":
        """Return the field without its codebook, and what was made with it."""
        segments = tuple(replace(segment, codes=None) for segment in self.segments)
        return replace(self, segments=segments, codebook=None, recipe=EXACT, trained_rows=0)

    def without_banks(self) -> "FieldInfo":
        """Return the field without its banks, and what was made with them."""
        segments = tuple(replace(segment, nearness=()) for segment in self.segments)
        return replace(self, segments=segments, banks=())

    def is_promised(self, tuning: Tuning) -> bool:
        """Whether what a tuning promised still holds."""
        return self.codebook is not None and self.codebook.name == tuning.codebook


@dataclass(frozen=True, slots=True)
class ScorerInfo:
    """A fusion scorer that was fitted to the index.

    Attributes:
        name: What a search calls it.
        file: Its arrays.
        directions: What it was trained for, as ``text->image``.
    """

    name: str
    file: FileInfo
    directions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index consists of.

    Attributes:
        model: The name that loads the model.
        spaces: The model's spaces, by which another model is refused.
        recipe: The FAISS factory string that the user asked for; ``None``: chosen by size.
        memory_bytes: The budget of memory for all codes that the user asked for, if any.
        commit: Number of the commit that wrote this.
        next_item_id: Ids below it have been given out.
        next_file: Number of the next file.
        items: How many live items there are.
        fields: The fields that hold vectors.
        versions: Library versions at creation; for information.
        scorers: Fusion scorers that were fitted to it.
    """

    model: str
    spaces: tuple[Space, ...]
    recipe: str | None = None
    memory_bytes: int | None = None
    commit: int = 0
    next_item_id: int = 1
    next_file: int = 1
    items: int = 0
    fields: tuple[FieldInfo, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    scorers: tuple[ScorerInfo, ...] = ()

    def field(self, name: FieldName) -> FieldInfo | None:
        """Return the field of that name, or None when nothing was indexed in it."""
        return next((field for field in self.fields if field.name == name), None)

    def files(self) -> set[str]:
        """Name every file that this manifest keeps alive."""
        names = {f.codebook.name for f in self.fields if f.codebook}
        names |= {bank.vectors.name for f in self.fields for bank in f.banks}
        names |= {scorer.file.name for scorer in self.scorers}
        for info in (segment for f in self.fields for segment in f.segments):
            names |= {info.vectors.name, *(file.name for file in info.nearness)}
            if info.codes:
                names.add(info.codes.name)
        return names

    def to_json(self) -> bytes:
        """Encode for LMDB."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()

    @staticmethod
    def from_json(encoded: bytes) -> "Manifest":
        """Decode what :meth:`to_json` wrote.

        Raises:
            IndexFormatError: A newer version of mmsearch wrote it.
        """
        raw = json.loads(encoded)
        version = raw.pop("format")
        if version > FORMAT:
            raise IndexFormatError(
                f"the index has format {version}, this version reads up to {FORMAT}: "
                "upgrade mmsearch"
            )
        raw["spaces"] = tuple(Space(**space) for space in raw["spaces"])
        fields = map(_field, raw["fields"])
        raw["fields"] = tuple(f.bare() if version <= _OTHER_CODES else f for f in fields)
        raw["scorers"] = tuple(map(_scorer, raw.get("scorers", ())))
        return Manifest(**raw)


def format_of(encoded: bytes) -> int:
    """Return the format of what :meth:`Manifest.to_json` wrote."""
    version: int = json.loads(encoded)["format"]
    return version


def _file(raw: dict[str, Any] | None) -> FileInfo | None:
    return None if raw is None else FileInfo(**raw)


def _field(raw: dict[str, Any]) -> FieldInfo:
    return FieldInfo(
        name=FieldName(raw["name"]["space"], Modality(raw["name"]["modality"])),
        dim=raw["dim"],
        segments=tuple(
            SegmentInfo(
                FileInfo(**s["vectors"]),
                _file(s["codes"]),
                s["rows"],
                s["last_id"],
                tuple(FileInfo(**file) for file in s.get("nearness", ())),
            )
            for s in raw["segments"]
        ),
        codebook=_file(raw["codebook"]),
        recipe=raw["recipe"],
        trained_rows=raw["trained_rows"],
        tunings=tuple(_tuning(tuning) for tuning in raw.get("tunings", ())),
        banks=tuple(_bank(bank) for bank in raw.get("banks", ())),
        chosen=raw.get("chosen"),
    )


def _tuning(raw: dict[str, Any]) -> Tuning:
    points = tuple(Point(**point) for point in raw["curve"])
    return Tuning(**raw | {"asked": Modality(raw["asked"]), "curve": points})


def _scorer(raw: dict[str, Any]) -> ScorerInfo:
    return ScorerInfo(raw["name"], FileInfo(**raw["file"]), tuple(raw["directions"]))


def _bank(raw: dict[str, Any]) -> Bank:
    changed = {"asked": Modality(raw["asked"]), "vectors": FileInfo(**raw["vectors"])}
    return Bank(**raw | changed)
