"""How thoroughly a field is searched."""

from collections.abc import Collection
from dataclasses import dataclass

from mmsearch.records import Modality
from mmsearch.search.hubs import Hubs, Nearest
from mmsearch.store.field import Field
from mmsearch.store.manifest import Tuning

FIRST_DEPTH = 500
"""Candidates of a field that are scored exactly: of the ten best pictures for a picture among
1,000,000, PQ64 keeps 0.98 in so many, 0.95 in 200 (the vectors of `benchmarks/ann.py`)."""
_SCANNED_DEPTH = 128
"""The same where a field is scanned: hits are rarely of more, and to ask on is to scan again."""
_CORRECTED = 2
"""So many times as many where scores are corrected for hubs: the codes put rows in the order of
cosines. Of the ten best of 600,000 CLIP-like vectors by corrected scores, 0.96 are among the first
500 by cosines, 0.98 among 1,000."""
_PROBED_WITHIN = 128
_PROBED_ACROSS = 48
"""One list in so many is looked into, for queries of the field's own modality and for others. Those
lie outside of what the lists were trained on, and their neighbours are in more of them."""
_LEAST_WITHIN = 32
_LEAST_ACROSS = 64
REACH = 0.25
"""What the spread of a list counts when lists are chosen. `benchmarks/lists.py`: 0.5 is best for
CLIP-like texts and worst for captions and photos as `mini` embeds them, where 0.25 holds what
FAISS's own lists do, to within 0.01; for CLIP-like texts 0.25 holds 0.02 more than those."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How thoroughly a field is searched.

    Attributes:
        nprobe: Inverted lists to look into.
        depth: Candidates to score exactly; as many are returned.
        reach: What the spread of a list counts when lists are chosen.
    """

    nprobe: int
    depth: int
    reach: float = REACH


def effort(field: Field, asked: Collection[Modality]) -> Effort:
    """Return what a field was tuned to for a kind of query, or the usual.

    Args:
        field: What is to be searched.
        asked: The modalities of the queries; none where they are not known. If they are not of
            one that was tuned for, the most of the tunings is returned.
    """
    if field.info.codebook is None or field.on_device is not None:
        return Effort(1, _SCANNED_DEPTH)
    tunings = tunings_of(field)
    fitting = [one for one in tunings if set(asked) == {one.asked}] or tunings
    if fitting:
        most = max(fitting, key=lambda one: one.nprobe)
        return Effort(most.nprobe, max(one.depth for one in fitting), most.reach)
    assert field.ann is not None
    across = set(asked) != {field.info.name.modality}
    depth = FIRST_DEPTH * (_CORRECTED if hubs_of(field, asked) else 1)
    return Effort(lists_to_probe(field.ann.nlist, across=across), depth)


def tunings_of(field: Field) -> list[Tuning]:
    """Return the tunings of a field that are in force: under another recipe they mean nothing."""
    return [one for one in field.info.tunings if one.recipe == field.info.recipe]


def hubs_of(field: Field, asked: Collection[Modality]) -> Hubs | None:
    """Return what scores are corrected by for queries of some modalities, if they are."""
    nearness = field.nearness.get(*asked) if len(asked) == 1 else None
    return None if nearness is None else Nearest(nearness)


def lists_to_probe(nlist: int, *, across: bool) -> int:
    """Return how many of the inverted lists of a field to look into."""
    if across:
        return max(_LEAST_ACROSS, nlist // _PROBED_ACROSS)
    return max(_LEAST_WITHIN, nlist // _PROBED_WITHIN)
