"""Re-rankers: networks that judge a pair more closely than an inner product can.

They are trained by ``mmsearch train align --similarity mlp`` (or ``cross``), and add to the cosine
of the first candidates of a search what they see in the pair. Pairs have a left and a right side in
the order of their modalities' names, whichever of the two is asked with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmsearch.encode.arrays import load_groups, save_groups
from mmsearch.encode.heads import gelu
from mmsearch.records import FieldName, FloatArray, Modality

if TYPE_CHECKING:
    from mmsearch.encode.cross import CrossAttention

ARRAYS = "reranker.safetensors"


@dataclass(frozen=True)
class Sight:
    """What a re-ranker is shown of one side of a pair.

    Attributes:
        vector: (dim,) float32, the embedding.
        places: (n, width) float32, its local features: patches, tokens; none for an ``mlp``.
    """

    vector: FloatArray
    places: FloatArray = field(default_factory=lambda: np.empty((0, 0), np.float32))


class Scorer(Protocol):
    """Judges the pairs of two modalities."""

    def __call__(self, left: Sequence[Sight], right: Sequence[Sight]) -> FloatArray:
        """What to add to the cosines of pairs: (n,) float32."""
        ...


@dataclass(frozen=True)
class MlpScorer:
    """Two layers on ``[x, y, x * y, |x - y|]`` (InferSent: Conneau et al. 2017, section 3.1).

    Attributes:
        arrays: ``in.weight`` (hidden, 4 dim), ``in.bias``, ``out.weight`` (1, hidden), float32.
    """

    arrays: Mapping[str, FloatArray]

    def __call__(self, left: Sequence[Sight], right: Sequence[Sight]) -> FloatArray:
        """What to add to the cosines of pairs: (n,) float32."""
        x = np.stack([sight.vector for sight in left])
        y = np.stack([sight.vector for sight in right])
        both = np.concatenate([x, y, x * y, np.abs(x - y)], axis=1)
        hidden = gelu(both @ self.arrays["in.weight"].T + self.arrays["in.bias"])
        return np.asarray(hidden @ self.arrays["out.weight"][0], np.float32)


@dataclass(frozen=True)
class CrossScorer:
    """Attention between the places of both sides, in torch."""

    network: "CrossAttention"

    def __call__(self, left: Sequence[Sight], right: Sequence[Sight]) -> FloatArray:
        """What to add to the cosines of pairs: (n,) float32."""
        import torch

        from mmsearch.encode.cross import padded

        x, y = ([sight.places for sight in side] for side in (left, right))
        with torch.inference_mode():
            found = self.network(padded(x), padded(y))
        return np.asarray(found.numpy(), np.float32)


@dataclass(frozen=True, order=True)
class PairKind:
    """Two modalities in one space.

    Attributes:
        space: Its name.
        left: The modality whose name comes first.
        right: The other.
    """

    space: str
    left: Modality
    right: Modality

    def __str__(self) -> str:
        return f"{self.space}-{self.left}-{self.right}"

    @classmethod
    def of(cls, space: str, one: Modality, other: Modality) -> "PairKind":
        """The pairing of two modalities in any order."""
        return cls(space, *sorted((one, other)))


@dataclass(frozen=True)
class Reranker:
    """The scorers of a model.

    Attributes:
        scorers: For each pairing that they can judge.
        depth: How many candidates of a field are judged.
        local: Whether the scorers look at local features.
    """

    scorers: Mapping[PairKind, Scorer]
    depth: int
    local: bool

    def covers(self, query: Modality, name: FieldName) -> bool:
        """Whether pairs of such a query and a field's vectors can be judged."""
        return PairKind.of(name.space, query, name.modality) in self.scorers

    def judge(
        self, query: Modality, asked: Sight, name: FieldName, sights: Sequence[Sight]
    ) -> FloatArray:
        """What to add to the cosines of candidates: (n,) float32.

        Args:
            query: The modality that is asked with.
            asked: The query.
            name: The field that the candidates are from.
            sights: The candidates.
        """
        scorer = self.scorers[PairKind.of(name.space, query, name.modality)]
        same = [asked] * len(sights)
        return scorer(same, sights) if query < name.modality else scorer(sights, same)


def write(folder: Path, scorers: Mapping[PairKind, Mapping[str, FloatArray]]) -> None:
    """Write the arrays of scorers into a model's folder."""
    save_groups(folder / ARRAYS, {str(pairing): arrays for pairing, arrays in scorers.items()})


def read(folder: Path, settings: Mapping[str, Any]) -> Reranker:
    """The re-ranker of a model's folder.

    Args:
        folder: Holds the arrays.
        settings: ``kind`` (mlp or cross), ``depth``, and ``pairings`` as [space, left, right].

    Raises:
        ModelError: It cannot be read.
    """
    local = settings["kind"] == "cross"
    pairings = [
        PairKind(space, Modality(left), Modality(right))
        for space, left, right in settings["pairings"]
    ]
    arrays = load_groups(folder / ARRAYS, map(str, pairings), "the re-ranker")
    scorers: dict[PairKind, Scorer] = {}
    for pairing in pairings:
        mine = arrays[str(pairing)]
        scorers[pairing] = _cross(mine) if local else MlpScorer(mine)
    return Reranker(scorers, int(settings["depth"]), local)


def _cross(arrays: Mapping[str, FloatArray]) -> CrossScorer:
    import torch

    from mmsearch.encode.cross import CrossAttention

    state = {name: torch.tensor(array) for name, array in arrays.items()}
    network = CrossAttention(state["left.weight"].shape[1], state["right.weight"].shape[1])
    network.load_state_dict(state)
    return CrossScorer(network.eval())
