"""`mmsearch train fusion`: a scorer is fitted to an index's queries, and kept if it is better."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from mmsearch.engine.index import Index
from mmsearch.engine.inputs import PathLike, modalities
from mmsearch.engine.judged import read_queries
from mmsearch.engine.request import Request
from mmsearch.errors import UsageError
from mmsearch.fuse.learned import Learned
from mmsearch.records import Modality
from mmsearch.store.scorers import keep_scorer
from mmsearch.store.writer import Writer
from mmsearch.train.fusion.examples import collect
from mmsearch.train.fusion.fit import fit
from mmsearch.train.fusion.groups import groups, split
from mmsearch.train.fusion.report import FusionReport, difference, figures, measured, scored
from mmsearch.train.splits import Split

log = logging.getLogger(__name__)


def train_fusion(
    index: Index,
    pairs: PathLike,
    *,
    scorer: str = Learned.MLP,
    target: Modality | str | Sequence[Modality | str] | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = log.info,
) -> FusionReport:
    """Fit a fusion scorer to queries of which is known what is relevant, or what was chosen.

    It is stored in the index, for ``rerank``, if its nDCG@10 is higher than the default's on
    queries that it was not trained on, with p < 0.05; otherwise the index stays as it is.

    Args:
        index: Whose items are asked for. It cannot be written to meanwhile.
        pairs: A manifest of queries (docs/evaluation.md); rows that ask the same are one query.
        scorer: ``mlp`` or ``attention`` (docs/ranking.md).
        target: Modalities of the parts to be found; the scorer is for such searches only.
        seed: Of the split, the start and the order.
        tell: Called with lines of progress.

    Raises:
        UsageError: The file cannot be read, or an option makes no sense.
        IndexLockedError: Another process is writing to the index.
        TrainingError: There is too little to learn from.
    """
    if scorer not in list(Learned):
        raise UsageError(f"scorer is {scorer!r}; choose one of {', '.join(Learned)}")
    kind, started = Learned(scorer), time.monotonic()
    judged = read_queries(pairs, None, ())
    request = Request(modalities(target) or (), k=1, rerank=kind)
    with closing(Writer(index.path)) as writer:
        examples = collect(index, judged, request, tell)
        grouped = groups(examples.found)
        parts = split(grouped, seed)
        train_on, validation, test = ([examples.found[n] for n in parts[name]] for name in Split)
        tell(f"training on {len(train_on):,} queries")
        arrays = fit(kind, train_on, validation, seed)
        theirs = measured(test, [example.candidates.scores for example in test])
        ours = measured(test, [scored(kind, arrays, example) for example in test])
        report = FusionReport(
            scorer=kind,
            directions=tuple(sorted({example.direction for example in examples.found})),
            queries=len(train_on) + len(validation),
            held_out=len(test),
            default=figures(theirs),
            learned=figures(ours),
            difference=difference(ours, theirs, grouped[parts[Split.TEST]]),
            hidden=examples.hidden,
            rare=examples.rare,
            failures=(*judged.failures, *examples.failures),
            seconds=time.monotonic() - started,
        )
        if report.helped:
            keep_scorer(writer, kind, report.directions, arrays)
    return report
