"""What `mmsearch info` tells of an index."""

from dataclasses import dataclass
from pathlib import Path

from mmsearch.engine.versions import library_versions
from mmsearch.records import FieldName, Modality, Space
from mmsearch.store.reader import View
from mmsearch.store.spare import sound_spare
from mmsearch.store.staging import STAGING


@dataclass(frozen=True, slots=True)
class Promise:
    """How a field is searched for queries of one modality.

    Attributes:
        asked: The modality.
        nprobe: Inverted lists that are looked into.
        reach: What the spread of a list counts when lists are chosen.
        depth: Candidates that are scored exactly.
        ann_recall: ann_recall_at_10 on fresh queries, when the field was tuned.
        holds: Whether the codebook is still the one that it was measured with.
    """

    asked: Modality
    nprobe: int
    reach: float
    depth: int
    ann_recall: float
    holds: bool


@dataclass(frozen=True, slots=True)
class Correction:
    """By what the scores of a field are corrected for hubs.

    Attributes:
        asked: The queries' modality.
        queries: How many stand for what is asked.
        own: Whether they are the index's own vectors, not of the reference bank.
    """

    asked: Modality
    queries: int
    own: bool


@dataclass(frozen=True, slots=True)
class FieldSummary:
    """One field.

    Attributes:
        name: Its space and modality.
        dim: Number of dimensions.
        vectors: Vectors of live items.
        dead: Vectors of removed items, until the next compaction.
        segments: Number of segments.
        recipe: ``exact``, or the FAISS factory string.
        promises: What tuning has found, for each kind of query.
        corrections: For what kinds of query its scores are corrected for hubs.
        size_bytes: What its files take on disk.
    """

    name: FieldName
    dim: int
    vectors: int
    dead: int
    segments: int
    recipe: str
    promises: tuple[Promise, ...]
    corrections: tuple[Correction, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index in figures.

    Attributes:
        path: Its folder.
        model: The name of its model.
        spaces: The model's spaces.
        asked_recipe: The FAISS factory string that all fields were asked to have, if any.
        memory_bytes: The budget of memory for all codes, if any.
        items: Live items.
        failures: Items that could not be indexed and have not changed since.
        commit: How many commits made it.
        fields: Its fields.
        scorers: Fusion scorers that were fitted to it: for which queries, by name.
        size_bytes: All files together, holes not counted.
        versions: Library versions at creation.
    """

    path: Path
    model: str
    spaces: tuple[Space, ...]
    asked_recipe: str | None
    memory_bytes: int | None
    items: int
    failures: int
    commit: int
    fields: tuple[FieldSummary, ...]
    scorers: dict[str, tuple[str, ...]]
    size_bytes: int
    moving_to: str | None
    versions: dict[str, str]

    def changed_versions(self) -> dict[str, str]:
        """Return the libraries of another version than at creation, with today's version.

        Their results may differ in the last digits; the model itself is compared by its weights.
        """
        return {n: v for n, v in library_versions().items() if self.versions.get(n) != v}


def describe(view: View) -> IndexInfo:
    """Return the figures of one commit."""
    manifest = view.manifest
    return IndexInfo(
        path=view.folder,
        model=manifest.model,
        spaces=manifest.spaces,
        asked_recipe=manifest.recipe,
        memory_bytes=manifest.memory_bytes,
        items=manifest.items,
        failures=view.snapshot.count(b"failures"),
        commit=manifest.commit,
        fields=tuple(_summary(view, name) for name in sorted(view.state.fields)),
        scorers={scorer.name: scorer.directions for scorer in manifest.scorers},
        size_bytes=sum(_disk_bytes(path) for path in view.folder.rglob("*")),
        moving_to=staged.model if (staged := sound_spare(view.folder / STAGING)) else None,
        versions=manifest.versions,
    )


def _disk_bytes(path: Path) -> int:
    try:
        return 512 * path.stat().st_blocks
    except FileNotFoundError:  # a writer has removed it meanwhile
        return 0


def _summary(view: View, name: FieldName) -> FieldSummary:
    info = view.state.fields[name].info
    live = view.alive(name).count
    files = [f for s in info.segments for f in (s.vectors, s.codes, *s.nearness)]
    files += [info.codebook, *(bank.vectors for bank in info.banks)]
    return FieldSummary(
        name=name,
        dim=info.dim,
        vectors=live,
        dead=info.rows - live,
        segments=len(info.segments),
        recipe=info.recipe,
        promises=tuple(
            Promise(t.asked, t.nprobe, t.reach, t.depth, t.promised, info.is_promised(t))
            for t in info.tunings
            if t.recipe == info.recipe
        ),
        corrections=tuple(Correction(b.asked, b.queries, b.own) for b in info.banks),
        size_bytes=sum(file.size_bytes for file in files if file),
    )
