"""How to align: the options of ``mmsearch train align``."""

from dataclasses import dataclass
from enum import StrEnum

from mmsearch.encode.heads import HeadKind
from mmsearch.errors import UsageError
from mmsearch.train.losses import Loss
from mmsearch.train.schedule import at_least, check


class Similarity(StrEnum):
    """What compares two embeddings.

    * ``dot``: the inner product of what heads make of them.
    * ``bilinear``: ``x W y`` with a learned matrix, which then becomes part of a head. With three
      modalities all but one have a matrix.
    * ``mlp``: their cosine plus what a small network sees in both; re-ranks the base's candidates.
    * ``cross``: their cosine plus what attention between their places (tokens, patches) sees;
      re-ranks too.
    """

    DOT = "dot"
    BILINEAR = "bilinear"
    MLP = "mlp"
    CROSS = "cross"

    @property
    def reranks(self) -> bool:
        """Whether it judges candidates instead of moving embeddings."""
        return self in (Similarity.MLP, Similarity.CROSS)


@dataclass(frozen=True)
class Options:
    """How to align.

    Attributes:
        similarity: What compares embeddings.
        head: Shape of the heads; residual where the base keeps one dim for all, else mlp. None for
            re-rankers.
        loss: What holds pairs together; re-rankers know infonce only.
        dim: Of the aligned space; that of the base's first space by default.
        batch_size: Pairs whose loss is taken together.
        part_size: Pairs in memory at a time; the whole batch by default.
        epochs: Passes over the pairs, if nothing stops the run earlier.
        learning_rate: The highest.
        patience: Of at most 20 evaluations, how many may bring nothing before the run stops.
        seed: Of the split, the start and the order.
    """

    similarity: Similarity = Similarity.DOT
    head: HeadKind | None = None
    loss: Loss = Loss.INFONCE
    dim: int | None = None
    batch_size: int = 512
    part_size: int | None = None
    epochs: int = 30
    learning_rate: float = 1e-3
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)
        at_least(1, dim=1 if self.dim is None else self.dim)
        if self.similarity.reranks and (self.head or self.dim or self.loss is not Loss.INFONCE):
            raise UsageError(
                f"similarity {self.similarity} re-ranks: it takes no head, no dim, and infonce only"
            )
