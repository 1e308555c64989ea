"""Heads are fitted, and judged as they are saved."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mmsearch.encode import aligned
from mmsearch.encode.heads import Head, HeadKind
from mmsearch.records import Modality
from mmsearch.train.align.heads import TorchHead
from mmsearch.train.align.prepared import Prepared
from mmsearch.train.align.report import Change
from mmsearch.train.align.task import Aligner, AlignTask, Sizes
from mmsearch.train.figures import Figures, hits
from mmsearch.train.journal import Journal
from mmsearch.train.loop import train
from mmsearch.train.pairs import Pairing
from mmsearch.train.splits import Split


def fit_heads(
    prepared: Prepared, device: torch.device, tell: Callable[[str], None]
) -> tuple[dict[str, Any], list[Change], Journal]:
    """Train heads and write them.

    Returns:
        What ``model.json`` is to say, the figures before and after, and the run.
    """
    options = prepared.options
    dim = prepared.base.spaces[0].dim if options.dim is None else options.dim
    aligner = _aligner(prepared, dim).to(device)
    task = AlignTask(
        aligner,
        {modality: torch.from_numpy(one.joined) for modality, one in prepared.features.items()},
        prepared.of(Split.TRAIN),
        prepared.of(Split.VALIDATION),
        Sizes(options.batch_size, options.part_size or options.batch_size),
        options.seed,
    )
    journal = train(task, prepared.plan(), prepared.home / "training", tell)
    heads = aligner.numpy_heads()
    settings = aligned.write_heads(prepared.home, prepared.base, heads, dim)
    for modality in sorted({encoder.modality for encoder in prepared.base.encoders} - heads.keys()):
        tell(f"no pairs hold {modality}: the new model does not embed it")
    changes = [
        change
        for test in prepared.of(Split.TEST)
        for change in prepared.changes(test, _figures(prepared, test, heads))
    ]
    return settings, changes, journal


def _aligner(prepared: Prepared, dim: int) -> Aligner:
    options = prepared.options
    widths = {modality: one.joined.shape[1] for modality, one in prepared.features.items()}
    equal = set(widths.values()) == {dim}
    kind = options.head or (HeadKind.RESIDUAL if equal else HeadKind.MLP)
    torch.manual_seed(options.seed)
    heads = {modality: TorchHead(kind, width, dim) for modality, width in widths.items()}
    return Aligner(heads, options.loss, options.similarity)


def _figures(
    prepared: Prepared, test: Pairing, heads: Mapping[Modality, Head]
) -> tuple[Figures, Figures]:
    """Both directions of the test pairs, by the heads as they are saved."""
    left, right = (
        heads[modality](prepared.features[modality].joined[members])
        for modality, members in zip((test.left, test.right), test.members, strict=True)
    )
    return hits(left @ right.T, test)
