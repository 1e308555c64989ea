"""What is asked of an index: the queries, embedded, and what is to be found."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, TypedDict

from mmsearch.encode.itm import PREFIX
from mmsearch.engine.embedding import Embedded
from mmsearch.engine.folding import WIDER
from mmsearch.engine.inputs import modalities
from mmsearch.engine.judging import Judging
from mmsearch.engine.matching import Matching
from mmsearch.errors import UsageError
from mmsearch.fuse import DEFAULT_SCORER, SCORERS
from mmsearch.fuse.candidates import DEPTH, MATCHED
from mmsearch.fuse.learned import Learned
from mmsearch.records import FieldName, FloatArray, Modality
from mmsearch.search.hubs import HubCorrection


@dataclass(frozen=True, slots=True)
class Asked:
    """One query, embedded.

    Attributes:
        terms: What it is made of, by space.
        bridged: Where it would lie in fields that its own spaces do not reach.
        modalities: What it is asked in; none where its vectors were given.
        words: Its text, for the lexical signal.
        unwanted: Words that speak against what holds them, and what they count.
        judging: The model's re-ranker for it, if it has one.
        matching: The cross-encoder for it, if one is asked for.
    """

    terms: Embedded
    bridged: Mapping[FieldName, FloatArray]
    modalities: Collection[Modality]
    words: str | None
    unwanted: Mapping[str, float]
    judging: Judging | None = None
    matching: Matching | None = None

    @property
    def is_composed(self) -> bool:
        """Whether it is more than one thing that is asked for."""
        return any(len(some) > 1 for some in self.terms.values())


class SearchOptions(TypedDict, total=False):
    """What is to be found, as callers say it: the options of every search.

    Attributes:
        target: Modalities of the parts to be found; all by default.
        k: How many items for each query, 10 by default.
        where: Expression over columns that items must satisfy (docs/where.md).
        rerank: The fusion scorer: ``convex``, ``rrf``, ``none`` for the vectors alone, one that was
            fitted to the index, ``mlp`` or ``attention``, or ``itm:CHECKPOINT`` for a cross-encoder
            of texts and pictures (docs/ranking.md).
        min_relevance: Hits whose ``relevance`` is lower are left out, 0 to 1.
        dedupe: Whether a hit stands for those that are near-duplicates of it, its ``duplicates``;
            pictures are read again for it.
        prefer: By column, of numbers or of texts such as dates, how much its highest value counts,
            in log-odds; below 0 low values are preferred.
        hubs: How scores are corrected for hubs: ``nnn``, ``qbnorm`` or ``none`` (docs/ranking.md).
    """

    target: Modality | str | Sequence[Modality | str] | None
    k: int
    where: str | None
    rerank: str
    min_relevance: float
    dedupe: bool
    prefer: Mapping[str, float]
    hubs: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be found: :class:`SearchOptions`, checked.

    Attributes:
        targets: Modalities of the parts; all that can be found if there are none.
        k: How many items.
        where: Expression over columns.
        rerank: With ``none`` nothing counts but the vectors of what is found.
        min_relevance: Items that are less likely to be relevant are left out.
        dedupe: Whether near-duplicates are folded.
        prefer: By column what its highest value counts.
        hubs: How scores are corrected for hubs.

    Raises:
        UsageError: A value makes no sense.
    """

    targets: Sequence[Modality] = ()
    k: int = 10
    where: str | None = None
    rerank: str = DEFAULT_SCORER
    min_relevance: float = 0.0
    dedupe: bool = False
    prefer: Mapping[str, float] = field(default_factory=dict)
    hubs: str = HubCorrection.NNN

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k is {self.k}; ask for at least one hit")
        if self.rerank not in (*SCORERS, *Learned) and not self.matches:
            names = ", ".join((*SCORERS, *Learned, f"{PREFIX}:CHECKPOINT"))
            raise UsageError(f"rerank is {self.rerank!r}; choose one of {names}")
        if not 0 <= self.min_relevance <= 1:
            raise UsageError(f"min_relevance is {self.min_relevance}; it is between 0 and 1")
        if self.hubs not in list(HubCorrection):
            ways = ", ".join(HubCorrection)
            raise UsageError(f"hubs is {self.hubs!r}; choose one of {ways}")
        for column, weight in self.prefer.items():
            if not isfinite(weight) or weight == 0:
                raise UsageError(f"prefer {column}: weight {weight}: give a number other than 0")
        if self.prefer and self.rerank == "rrf":
            raise UsageError("prefer adds log-odds, and the scores of rrf are none; use convex")

    @property
    def depth(self) -> int:
        """How many items each field is to yield; ranks must not hang on how many are asked for."""
        k = WIDER * self.k if self.dedupe else self.k
        if self.rerank in (DEFAULT_SCORER, "none") and not self.prefer:
            return k
        return max(k, MATCHED if self.matches and not self.prefer else DEPTH)

    @property
    def looks_up(self) -> bool:
        """Whether columns count."""
        return self.where is not None or bool(self.prefer)

    @property
    def matches(self) -> bool:
        """Whether a cross-encoder is to look at what comes first."""
        return self.rerank.startswith(f"{PREFIX}:")

    @property
    def looks_closely(self) -> bool:
        """Whether anything but the vectors of what is found counts."""
        return self.rerank != "none"


def request_of(options: SearchOptions) -> Request:
    """Return what callers ask for.

    Raises:
        UsageError: An option makes no sense.
    """
    rest: dict[str, Any] = {name: value for name, value in options.items() if name != "target"}
    return Request(modalities(options.get("target")) or (), **rest)
