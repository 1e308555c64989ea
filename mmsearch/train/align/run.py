"""``mmsearch train align``: from pairs in manifests to a model that an index can use."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmsearch.encode import Model, folder, load_model
from mmsearch.encode.compute import Compute
from mmsearch.train.align.fit_heads import fit_heads
from mmsearch.train.align.fit_reranker import fit_reranker
from mmsearch.train.align.options import Options
from mmsearch.train.align.prepared import prepare
from mmsearch.train.align.report import AlignReport
from mmsearch.train.splits import Split

log = logging.getLogger(__name__)

DEFAULTS = Options()


def train_align(
    pairs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | Model,
    out: str | os.PathLike[str],
    text_columns: Sequence[str] = (),
    group: str | None = None,
    options: Options = DEFAULTS,
    device: str | None = None,
    tell: Callable[[str], None] = log.info,
) -> AlignReport:
    """Fit heads, or a re-ranker, to pairs; the encoders stay as they are.

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
    home = Path(out).expanduser().absolute()
    base = load_model(model, device) if isinstance(model, str) else model
    paths = [pairs] if isinstance(pairs, str | os.PathLike) else list(pairs)
    prepared = prepare(paths, text_columns, group, base, options, home, tell)
    fit = fit_reranker if options.similarity.reranks else fit_heads
    settings, changes, journal = fit(prepared, Compute(device).device, tell)
    folder.write(home, settings)
    steps, figures = journal.series("mrr")
    report = AlignReport(
        home,
        changes,
        pairs=sum(len(pairing.rows) for pairing in prepared.of(Split.TRAIN)),
        steps=len(journal.series("loss")[0]),
        best_step=steps[int(np.argmax(figures))],
        failures=prepared.failures,
    )
    report.write()
    return report
