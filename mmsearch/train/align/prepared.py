"""What every alignment starts from: pairs, and what the frozen base model says of their parts."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch.encode import LocalEncoder, Model
from mmsearch.errors import TrainingError, UsageError
from mmsearch.records import Failure, FieldName, FloatArray, Modality, Part
from mmsearch.train import schedule
from mmsearch.train.align.options import Options, Similarity
from mmsearch.train.align.report import Change
from mmsearch.train.checkpoint import refuse_other
from mmsearch.train.features import Features, digest, embed_parts
from mmsearch.train.figures import Figures, hits
from mmsearch.train.files import model_folder
from mmsearch.train.pairs import Pairing, Pairs, read_pairs
from mmsearch.train.plan import Plan
from mmsearch.train.splits import Split


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
        subject: What a run that is continued must agree in.
    """

    base: Model
    parts: Mapping[Modality, Sequence[Part]]
    features: Mapping[Modality, Features]
    pairings: Sequence[Pairing]
    failures: Sequence[Failure]
    options: Options
    home: Path
    subject: str

    def of(self, split: Split) -> list[Pairing]:
        """The pairs of one split; for figures at most 2,000 of each pairing."""
        found = [pairing.of(split) for pairing in self.pairings]
        if split is Split.TRAIN:
            return found
        return [schedule.judged_by(pairing, self.options.seed) for pairing in found]

    def vectors(self, space: str, modality: Modality) -> FloatArray:
        """(parts, dim) float32: the base's embeddings of one modality in a space."""
        return self.features[modality].fields[FieldName(space, modality)]

    def changes(self, pairing: Pairing, after: tuple[Figures, Figures]) -> list[Change]:
        """Both directions of pairs, by the base model and now."""
        left, right = pairing.members
        space = shared_space(self.base, pairing)
        if space is None:
            rng = np.random.default_rng([self.options.seed, 23])
            scores = rng.random((len(left), len(right)), np.float32)
        else:
            one, other = (self.vectors(space, side) for side in (pairing.left, pairing.right))
            scores = one[left] @ other[right].T
        before = hits(scores, pairing)
        return [Change(b, a, space is None) for b, a in zip(before, after, strict=True)]

    def plan(self) -> Plan:
        """The training run."""
        return schedule.plan(self.options, self.of(Split.TRAIN), self.subject)


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
        UsageError: The options or the pairs do not fit the base model.
        TrainingError: There are too few pairs.
    """
    found = read_pairs(paths, text_columns, group, options.seed)
    _check(base, found, options)
    makers = {f"{kind} parts": digest(parts, kind) for kind, parts in found.parts.items()}
    makers["base model"] = " ".join(space.sha256 for space in base.spaces)
    subject = schedule.subject(options, found.pairings, makers)
    model_folder(home)
    refuse_other(home / "training", subject)
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
    return Prepared(base, found.parts, features, pairings, failures, options, home, subject)


def shared_space(base: Model, pairing: Pairing) -> str | None:
    """The space in which a model compares both modalities, if there is one."""
    others = {name.space for name in base.fields(pairing.right)}
    spaces = [name.space for name in base.fields(pairing.left)]
    return next((space for space in spaces if space in others), None)


def _check(base: Model, found: Pairs, options: Options) -> None:
    """Raise UsageError, before anything is embedded, for what cannot be trained."""
    name = f"model {base.name!r}"
    if base.reranker is not None:
        raise UsageError(f"{name} re-ranks; align the model that it was trained on")
    for modality in found.parts:
        if not base.fields(modality):
            raise UsageError(f"{name} does not embed {modality}, which the pairs hold")
    for pairing in found.pairings if options.similarity.reranks else ():
        space = shared_space(base, pairing)
        if space is None:
            raise UsageError(
                f"{name} does not compare {pairing.left} with {pairing.right}: "
                "there are no candidates to re-rank; align with similarity dot"
            )
        for modality in (pairing.left, pairing.right):
            encoder = base.encoder(FieldName(space, modality))
            if options.similarity is Similarity.CROSS and not isinstance(encoder, LocalEncoder):
                raise UsageError(f"{name} has no local features of {modality}")


def _check_splits(pairing: Pairing) -> None:
    for split in Split:
        if not len(pairing.of(split).rows):
            raise TrainingError(f"none of the {pairing.name} pairs for {split} could be read")
