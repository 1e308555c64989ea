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
from mmsearch.train.figures import hits
from mmsearch.train.journal import Journal
from mmsearch.train.loop import train
from mmsearch.train.pairs import Pairing, Split


def fit_heads(
    prepared: Prepared, device: torch.device, tell: Callable[[str], None]
) -> tuple[dict[str, Any], list[Change], Journal]:
    """Train heads and write them.

    Returns:
        What ``model.json`` is to say, the figures before and after, and the run.
    """
    options = prepared.options
    dim = options.dim or prepared.base.spaces[0].dim
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
    tests = prepared.of(Split.TEST)
    return settings, [one for test in tests for one in _changes(prepared, test, heads)], journal


def _aligner(prepared: Prepared, dim: int) -> Aligner:
    options = prepared.options
    widths = {modality: one.joined.shape[1] for modality, one in prepared.features.items()}
    equal = set(widths.values()) == {dim}
    kind = options.head or (HeadKind.RESIDUAL if equal else HeadKind.MLP)
    torch.manual_seed(options.seed)
    heads = {modality: TorchHead(kind, width, dim) for modality, width in widths.items()}
    return Aligner(heads, options.loss, options.similarity)


def _changes(prepared: Prepared, test: Pairing, heads: Mapping[Modality, Head]) -> list[Change]:
    """Both directions of the test pairs, by the base model and by the heads as they are saved."""
    left, right = (
        heads[modality](prepared.features[modality].joined[members])
        for modality, members in zip((test.left, test.right), test.members, strict=True)
    )
    after = hits(left @ right.T, test)
    return [Change(b, a) for b, a in zip(prepared.before(test), after, strict=True)]
