"""``mmsearch train towers``: from pairs in manifests to towers that an index can use."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmsearch.encode import Model, folder, load_model, towers
from mmsearch.encode.compute import Compute
from mmsearch.encode.towers.networks import build
from mmsearch.encode.towers.shapes import Design, Table
from mmsearch.records import FloatArray, Modality, Part
from mmsearch.train.features import digest, embed_parts
from mmsearch.train.figures import Figures, hits
from mmsearch.train.files import model_folder
from mmsearch.train.journal import Journal
from mmsearch.train.loop import train
from mmsearch.train.pairs import read_pairs
from mmsearch.train.schedule import judged_by, plan, subject
from mmsearch.train.splits import Split
from mmsearch.train.towers.clean import Cleaner
from mmsearch.train.towers.export import export
from mmsearch.train.towers.material import Material, gather
from mmsearch.train.towers.options import Options
from mmsearch.train.towers.report import TowersReport
from mmsearch.train.towers.task import Pace, Towers, TowersTask
from mmsearch.train.towers.teachers import Teacher, find_teacher, teach
from mmsearch.train.towers.words import TokenTable

log = logging.getLogger(__name__)

DEFAULTS = Options()


def train_towers(
    pairs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    text_columns: Sequence[str] = (),
    label: str | None = None,
    group: str | None = None,
    teacher: Teacher | None = None,
    options: Options = DEFAULTS,
    device: str | None = None,
    tell: Callable[[str], None] = log.info,
) -> TowersReport:
    """Train compact towers from scratch, so that what belongs together comes close.

    A run that was stopped continues when it is started again with the same arguments; on a CPU it
    takes the very steps that it would have taken.

    Args:
        pairs: Manifests whose rows have parts of two or more modalities, or one and a label.
        out: Folder for the model; what is decoded and the checkpoints are kept there too.
        text_columns: Columns of the manifests that hold texts, beside ``text``.
        label: Column that names what is seen or heard; it becomes a text.
        group: Column whose equal values are never split between training and test.
        teacher: What the towers learn from beside the pairs: a model, its name, or a folder of
            arrays, see :func:`mmsearch.train.towers.teachers.teach`.
        options: How to train.
        device: Where to train.
        tell: Called with lines that say how it goes.

    Returns:
        Figures on pairs that were not trained on.

    Raises:
        UsageError: The teacher or a column does not fit the pairs.
        TrainingError: There are too few pairs, or the folder holds another run.
    """
    target = Path(out).expanduser().absolute()
    model_folder(target)
    paths = [pairs] if isinstance(pairs, str | os.PathLike) else list(pairs)
    found = read_pairs(paths, text_columns, group, options.seed, Cleaner(label))
    if isinstance(teacher, str | os.PathLike):
        teacher = find_teacher(teacher, device)
    material = gather(found, options, target / "prepared", tell)
    targets: Mapping[Modality, FloatArray] = {}
    if teacher is not None:
        first = Path(paths[0]).expanduser().absolute()
        beside = first if first.is_dir() else first.parent
        targets = teach(teacher, material.parts, beside, target / "teacher", tell)
    design = _design(material, options)
    model = _untrained(design, material, targets, options).to(Compute(device).device)
    about = subject(options, material.pairings, _makers(material, targets))
    course = plan(options, material.of(Split.TRAIN), about)
    task = _task(model, material, targets, options)
    journal = train(task, course, target / "training", tell)
    export(target / towers.WEIGHTS, design, model.by_modality, material.tokenizer)
    folder.write(target, {"kind": towers.KIND})
    figures = _figures(material, load_model(str(target), device), target, options.seed, tell)
    report = _report(target, figures, material, journal)
    report.write()
    return report


def _design(material: Material, options: Options) -> Design:
    tokens = material.tokenizer.get_vocab_size() if material.tokenizer else 0
    return options.design(material.inputs, tokens)


def _untrained(
    design: Design, material: Material, targets: Mapping[Modality, FloatArray], options: Options
) -> Towers:
    """Towers at their random start, and maps to a teacher whose dim is another."""
    torch.manual_seed(options.seed)
    found: dict[Modality, nn.Module] = {}
    for modality, shape in design.towers.items():
        if isinstance(shape, Table):
            assert material.tokenizer is not None
            size = material.tokenizer.get_vocab_size()
            found[modality] = TokenTable(torch.randn(size, design.dim) * 0.02)
        else:
            found[modality] = build(design, modality)
    dims = {modality: rows.shape[1] for modality, rows in targets.items()}
    maps = {
        modality: nn.Linear(design.dim, dim, bias=False)
        for modality, dim in dims.items()
        if dim != design.dim
    }
    return Towers(found, options.loss, maps)


def _task(
    model: Towers, material: Material, targets: Mapping[Modality, FloatArray], options: Options
) -> TowersTask:
    return TowersTask(
        model,
        material.inputs,
        {modality: torch.from_numpy(rows) for modality, rows in targets.items()},
        material.of(Split.TRAIN),
        [judged_by(pairing, options.seed) for pairing in material.of(Split.VALIDATION)],
        Pace(
            options.batch_size,
            options.part_size or options.batch_size,
            options.mixup,
            options.distillation,
            options.seed,
        ),
    )


def _makers(material: Material, targets: Mapping[Modality, FloatArray]) -> dict[str, str]:
    """Hashes of the parts and of what the teacher says."""
    found = {f"{kind} parts": digest(some, kind) for kind, some in material.parts.items()}
    told = {f"{kind} taught": sha256(rows.tobytes()) for kind, rows in targets.items()}
    return found | {name: one.hexdigest() for name, one in told.items()}


def _figures(
    material: Material, model: Model, target: Path, seed: int, tell: Callable[[str], None]
) -> list[Figures]:
    """Both directions of all test pairs, by the model as an index uses it."""
    found: list[Figures] = []
    for pairing in (judged_by(pairing, seed) for pairing in material.of(Split.TEST)):
        left, right = (
            _embedded(material.parts[kind], members, kind, model, target, tell)
            for kind, members in zip((pairing.left, pairing.right), pairing.members, strict=True)
        )
        found += hits(np.asarray(left @ right.T, np.float32), pairing)
    return found


def _embedded(
    parts: Sequence[Part],
    numbers: NDArray[np.int64],
    kind: Modality,
    model: Model,
    target: Path,
    tell: Callable[[str], None],
) -> FloatArray:
    """The parts of these numbers: (n, dim) float32, rows of unit length."""
    chosen = [parts[number] for number in numbers.tolist()]
    return embed_parts(chosen, kind, model, target / "features", tell).joined


def _report(
    target: Path, figures: Sequence[Figures], material: Material, journal: Journal
) -> TowersReport:
    steps, values = journal.series("mrr")
    return TowersReport(
        target,
        figures,
        pairs=sum(len(pairing.rows) for pairing in material.of(Split.TRAIN)),
        left_out=material.left_out,
        steps=len(journal.series("loss")[0]),
        best_step=steps[int(np.argmax(values))],
        failures=material.failures,
    )
