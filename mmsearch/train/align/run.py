"""``mmsearch train align``: from pairs in manifests to a model that an index can use."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from mmsearch.encode import Model, aligned, folder, load_model
from mmsearch.encode.heads import Head, HeadKind
from mmsearch.encode.torch_ import pick_device
from mmsearch.errors import TrainingError, UsageError
from mmsearch.records import FloatArray, Modality
from mmsearch.train.align.heads import Similarity, TorchHead
from mmsearch.train.align.report import AlignReport, Change
from mmsearch.train.align.task import Aligner, AlignTask, Sizes
from mmsearch.train.features import Features, embed_parts
from mmsearch.train.figures import Figures, hits
from mmsearch.train.loop import Plan, train
from mmsearch.train.losses import Loss
from mmsearch.train.pairs import Pairing, Pairs, Split, read_pairs

log = logging.getLogger(__name__)

EVALUATIONS = 20
"""How often a run is evaluated, if it is not stopped."""

MAX_EVALUATED = 2000
"""Pairs of a direction that figures are taken from."""


@dataclass(frozen=True)
class Options:
    """How to align.

    Attributes:
        head: Shape of the heads; residual where the base keeps one dim for all, else mlp.
        loss: What pairs are held together by.
        similarity: What compares them.
        dim: Of the aligned space; that of the base's first space by default.
        batch_size: Pairs whose loss is taken together.
        part_size: Pairs in memory at a time; the whole batch by default.
        epochs: Passes over the pairs, if nothing stops the run earlier.
        learning_rate: The highest.
        patience: Of 20 evaluations, how many may bring nothing before the run stops.
        seed: Of the split, the start and the order.
    """

    head: HeadKind | None = None
    loss: Loss = Loss.INFONCE
    similarity: Similarity = Similarity.DOT
    dim: int | None = None
    batch_size: int = 512
    part_size: int | None = None
    epochs: int = 30
    learning_rate: float = 1e-3
    patience: int = 5
    seed: int = 0


def train_align(
    pairs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | Model,
    out: str | os.PathLike[str],
    text_columns: Sequence[str] = (),
    group: str | None = None,
    options: Options = Options(),
    device: str | None = None,
    tell: Callable[[str], None] = log.info,
) -> AlignReport:
    """Fit heads on frozen encoders, so that what belongs together comes close.

    A run that was stopped continues when it is started again with the same arguments.

    Args:
        pairs: Manifests whose rows have parts of two or more modalities.
        model: The base model, or its name.
        out: Folder for the new model; its checkpoints and the embeddings are kept there too.
        text_columns: Columns of the manifests that hold texts, beside ``text``.
        group: Column whose equal values are never split between training and test.
        options: How to train.
        device: Where to train and embed.
        tell: Called with lines that say how it goes.

    Returns:
        The figures before and after, on pairs that were not trained on.

    Raises:
        UsageError: An option does not fit the model or the pairs.
        TrainingError: There are too few pairs, or the folder holds another run.
    """
    target = Path(out).expanduser().absolute()
    base = load_model(model, device) if isinstance(model, str) else model
    paths = [pairs] if isinstance(pairs, str | os.PathLike) else list(pairs)
    found = read_pairs(paths, text_columns, group, options.seed)
    target.mkdir(parents=True, exist_ok=True)
    features = _features(found, base, target / "features", tell)
    pairings = [_usable(pairing, features) for pairing in found.pairings]
    dim = options.dim or base.spaces[0].dim
    aligner = _aligner(features, dim, options)
    aligner.to(pick_device(device))
    task = _task(aligner, features, pairings, options)
    plan = _plan(pairings, options, _subject(base, found, options))
    journal = train(task, plan, target / "training", tell)
    heads = aligner.numpy_heads()
    folder.write(target, aligned.write(target, base, heads, dim))
    test = [_sample(pairing.of(Split.TEST), options.seed) for pairing in pairings]
    changes = [change for pairing in test for change in _changes(pairing, features, heads)]
    steps, _ = journal.series("loss")
    report = AlignReport(
        target,
        changes,
        pairs=sum(len(pairing.of(Split.TRAIN).rows) for pairing in pairings),
        steps=len(steps),
        best_step=_best_step(*journal.series("mrr")),
        failures=[*found.failures, *(f for one in features.values() for f in one.failures)],
    )
    report.write()
    return report


def _features(
    pairs: Pairs, base: Model, home: Path, tell: Callable[[str], None]
) -> dict[Modality, Features]:
    """The base model's embeddings of every part."""
    found = {}
    for modality, parts in pairs.parts.items():
        if not base.fields(modality):
            raise UsageError(f"model {base.name!r} does not embed {modality}, which the pairs hold")
        found[modality] = embed_parts(parts, modality, base, home, tell)
    return found


def _usable(pairing: Pairing, features: Mapping[Modality, Features]) -> Pairing:
    """The pairs whose parts could both be embedded."""
    left, right = features[pairing.left].usable, features[pairing.right].usable
    kept = pairing.take(np.flatnonzero(left[pairing.rows[:, 0]] & right[pairing.rows[:, 1]]))
    if not len(kept.of(Split.TRAIN).rows):
        raise TrainingError(f"none of the {pairing.name} pairs could be read")
    return kept


def _aligner(features: Mapping[Modality, Features], dim: int, options: Options) -> Aligner:
    widths = {modality: one.joined.shape[1] for modality, one in features.items()}
    equal = set(widths.values()) == {dim}
    kind = options.head or (HeadKind.RESIDUAL if equal else HeadKind.MLP)
    torch.manual_seed(options.seed)
    heads = {modality: TorchHead(kind, width, dim) for modality, width in widths.items()}
    return Aligner(heads, options.loss, options.similarity)


def _task(
    aligner: Aligner,
    features: Mapping[Modality, Features],
    pairings: Sequence[Pairing],
    options: Options,
) -> AlignTask:
    return AlignTask(
        aligner,
        {modality: torch.from_numpy(one.joined) for modality, one in features.items()},
        [pairing.of(Split.TRAIN) for pairing in pairings],
        [_sample(pairing.of(Split.VALIDATION), options.seed) for pairing in pairings],
        Sizes(options.batch_size, options.part_size or options.batch_size),
        options.seed,
    )


def _sample(pairing: Pairing, seed: int) -> Pairing:
    """At most 2,000 of the pairs."""
    if len(pairing.rows) <= MAX_EVALUATED:
        return pairing
    rng = np.random.default_rng([seed, 21])
    return pairing.take(np.sort(rng.choice(len(pairing.rows), MAX_EVALUATED, replace=False)))


def _plan(pairings: Sequence[Pairing], options: Options, subject: str) -> Plan:
    most = max(len(pairing.of(Split.TRAIN).rows) for pairing in pairings)
    steps = options.epochs * max(1, most // options.batch_size)
    return Plan(
        steps=steps,
        seed=options.seed,
        learning_rate=options.learning_rate,
        evaluate_steps=max(1, steps // EVALUATIONS),
        patience=options.patience,
        subject=subject,
    )


def _subject(base: Model, pairs: Pairs, options: Options) -> str:
    """What a run that is continued must agree in."""
    sizes = {pairing.name: len(pairing.rows) for pairing in pairs.pairings}
    spaces = [space.sha256 for space in base.spaces]
    return json.dumps([asdict(options), spaces, sizes])


def _changes(
    pairing: Pairing, features: Mapping[Modality, Features], heads: Mapping[Modality, Head]
) -> list[Change]:
    """Both directions of the test pairs, by the base model and by the heads as they are saved."""
    left, right = (np.unique(pairing.rows[:, side]) for side in (0, 1))
    one, other = features[pairing.left], features[pairing.right]
    after = heads[pairing.left](one.joined[left]) @ heads[pairing.right](other.joined[right]).T
    before: Sequence[Figures | None] = (None, None)
    for name, vectors in one.fields.items():
        for twin, others in other.fields.items():
            if name.space == twin.space:
                before = hits(_product(vectors[left], others[right]), pairing)
    return [Change(b, a) for b, a in zip(before, hits(after, pairing), strict=True)]


def _product(left: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray(left @ right.T, np.float32)


def _best_step(steps: Sequence[int], values: Sequence[float]) -> int:
    return steps[int(np.argmax(values))] if values else 0
