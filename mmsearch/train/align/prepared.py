"""What every alignment starts from: pairs, and what the frozen base model says of their parts."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmsearch.encode import Model
from mmsearch.errors import TrainingError, UsageError
from mmsearch.records import Failure, FloatArray, Modality, Part
from mmsearch.train import schedule
from mmsearch.train.align.options import Options
from mmsearch.train.features import Features, embed_parts
from mmsearch.train.figures import Figures, hits
from mmsearch.train.loop import Plan
from mmsearch.train.pairs import Pairing, Split, read_pairs


@dataclass(frozen=True)
class Prepared:
    """Pairs whose parts have been embedded.

    Attributes:
        base: The frozen model.
        parts: By modality.
        features: What the base says of them.
        pairings: The pairs whose two parts could be embedded.
        failures: Rows and files that could not be used.
        options: How to align.
        home: The folder of the new model.
    """

    base: Model
    parts: Mapping[Modality, Sequence[Part]]
    features: Mapping[Modality, Features]
    pairings: Sequence[Pairing]
    failures: Sequence[Failure]
    options: Options
    home: Path

    def of(self, split: Split) -> list[Pairing]:
        """The pairs of one split; for figures at most 2,000 of each pairing."""
        found = [pairing.of(split) for pairing in self.pairings]
        if split is Split.TRAIN:
            return found
        return [schedule.judged_by(pairing, self.options.seed) for pairing in found]

    def shared_space(self, pairing: Pairing) -> str | None:
        """The space in which the base compares both modalities, if there is one."""
        spaces = [name.space for name in self.features[pairing.left].fields]
        others = {name.space for name in self.features[pairing.right].fields}
        return next((space for space in spaces if space in others), None)

    def vectors(self, space: str, modality: Modality) -> FloatArray:
        """(parts, dim) float32: the base's embeddings of one modality in a space."""
        fields = self.features[modality].fields
        return next(found for name, found in fields.items() if name.space == space)

    def before(self, pairing: Pairing) -> tuple[Figures, Figures] | tuple[None, None]:
        """How well the base model does."""
        space = self.shared_space(pairing)
        if space is None:
            return None, None
        left, right = pairing.members
        one, other = (self.vectors(space, side) for side in (pairing.left, pairing.right))
        return hits(one[left] @ other[right].T, pairing)

    def plan(self) -> Plan:
        """The training run."""
        sizes = {pairing.name: len(pairing.rows) for pairing in self.pairings}
        spaces = [space.sha256 for space in self.base.spaces]
        subject = json.dumps([asdict(self.options), spaces, sizes])
        return schedule.plan(self.options, self.of(Split.TRAIN), subject)


def prepare(
    paths: Sequence[str | os.PathLike[str]],
    text_columns: Sequence[str],
    group: str | None,
    base: Model,
    options: Options,
    home: Path,
    tell: Callable[[str], None],
) -> Prepared:
    """Read pairs and embed their parts.

    Raises:
        UsageError: The base model lacks a modality of the pairs.
        TrainingError: There are too few pairs.
    """
    found = read_pairs(paths, text_columns, group, options.seed)
    for modality in found.parts:
        if not base.fields(modality):
            raise UsageError(f"model {base.name!r} does not embed {modality}, which the pairs hold")
    home.mkdir(parents=True, exist_ok=True)
    features = {
        modality: embed_parts(parts, modality, base, home / "features", tell)
        for modality, parts in found.parts.items()
    }
    usable = {modality: one.usable for modality, one in features.items()}
    pairings = [pairing.readable(usable) for pairing in found.pairings]
    for pairing in pairings:
        _check_splits(pairing)
    unread = [failure for one in features.values() for failure in one.failures]
    failures = [*found.failures, *unread]
    return Prepared(base, found.parts, features, pairings, failures, options, home)


def _check_splits(pairing: Pairing) -> None:
    for split in Split:
        if not len(pairing.of(split).rows):
            raise TrainingError(f"none of the {pairing.name} pairs for {split} could be read")
