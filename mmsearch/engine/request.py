"""What is asked of an index: the queries, embedded, and what is to be found."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mmsearch.engine.judging import Judging
from mmsearch.errors import UsageError
from mmsearch.fuse import DEFAULT_SCORER, SCORERS
from mmsearch.fuse.candidates import DEPTH
from mmsearch.fuse.learned import Learned
from mmsearch.records import FieldName, FloatArray, Modality


@dataclass(frozen=True, slots=True)
class Asked:
    """One query, embedded.

    Attributes:
        vectors: By space its (dim,) float32 vector.
        bridged: Where it would lie in fields that its own spaces do not reach.
        modalities: What it is asked in; none where its vectors were given.
        words: Its text, for the lexical signal.
        judging: The model's re-ranker for it, if it has one.
    """

    vectors: Mapping[str, FloatArray]
    bridged: Mapping[FieldName, FloatArray]
    modalities: Collection[Modality]
    words: str | None
    judging: Judging | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be found.

    Attributes:
        targets: Modalities of the parts; all that can be found if there are none.
        k: How many items.
        where: Expression over columns that items must satisfy.
        rerank: The fusion scorer; with ``none`` nothing counts but the vectors of what is found.
        min_relevance: Items that are less likely to be relevant are left out.

    Raises:
        UsageError: A value makes no sense.
    """

    targets: Sequence[Modality] = ()
    k: int = 10
    where: str | None = None
    rerank: str = DEFAULT_SCORER
    min_relevance: float = 0.0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k is {self.k}; ask for at least one hit")
        names = (*SCORERS, *Learned)
        if self.rerank not in names:
            raise UsageError(f"rerank is {self.rerank!r}; choose one of {', '.join(names)}")
        if not 0 <= self.min_relevance <= 1:
            raise UsageError(f"min_relevance is {self.min_relevance}; it is between 0 and 1")

    @property
    def depth(self) -> int:
        """How many items are to be found: a learned scorer judges more than are asked for."""
        return self.k if self.rerank in SCORERS else max(self.k, DEPTH)

    @property
    def looks_closely(self) -> bool:
        """Whether anything but the vectors of what is found counts."""
        return self.rerank != "none"
