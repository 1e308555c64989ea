"""A re-ranker is fitted, and judged on the base model's first candidates."""

from collections.abc import Callable
from typing import Any

import torch

from mmsearch.encode import LocalEncoder, aligned, rerank
from mmsearch.encode.rerank import Pairing as Kind
from mmsearch.errors import UsageError
from mmsearch.records import Modality
from mmsearch.train.align.options import Similarity
from mmsearch.train.align.prepared import Prepared
from mmsearch.train.align.report import Change
from mmsearch.train.align.rerank import CANDIDATES, Matched, RerankTask, Side, arrays
from mmsearch.train.journal import Journal
from mmsearch.train.loop import train
from mmsearch.train.pairs import Pairing, Split
from mmsearch.train.places import Places, embed_places

Tell = Callable[[str], None]


def fit_reranker(
    prepared: Prepared, device: torch.device, tell: Tell
) -> tuple[dict[str, Any], list[Change], Journal]:
    """Train a network for every pairing and write them.

    Returns:
        What ``model.json`` is to say, the figures before and after, and the run.
    """
    options = prepared.options
    places = _places(prepared, tell) if options.similarity is Similarity.CROSS else {}
    splits = {
        split: [_matched(prepared, pairing, places) for pairing in prepared.of(split)]
        for split in Split
    }
    task = RerankTask(
        splits[Split.TRAIN], splits[Split.VALIDATION], options.batch_size, options.seed, device
    )
    journal = train(task, prepared.plan(), prepared.home / "training", tell)
    kinds = [matched.kind for matched in splits[Split.TRAIN]]
    found = arrays(task.model)
    rerank.write(prepared.home, {kind: found[str(kind)] for kind in kinds})
    settings = aligned.reranking(prepared.base, str(options.similarity), CANDIDATES, kinds)
    changes = [
        Change(before, after)
        for matched in splits[Split.TEST]
        for before, after in zip(
            prepared.before(matched.pairing), task.figures(matched), strict=True
        )
    ]
    return settings, changes, journal


def _places(prepared: Prepared, tell: Tell) -> dict[Modality, Places]:
    """The local features of every part."""
    found = {}
    for modality, parts in prepared.parts.items():
        name = next(iter(prepared.features[modality].fields))
        encoder = prepared.base.encoder(name)
        if not isinstance(encoder, LocalEncoder):
            raise UsageError(f"model {prepared.base.name!r} has no local features of {modality}")
        found[modality] = embed_places(parts, name, encoder, prepared.home / "features", tell)
    return found


def _matched(prepared: Prepared, pairing: Pairing, places: dict[Modality, Places]) -> Matched:
    space = prepared.shared_space(pairing)
    if space is None:
        raise UsageError(
            f"model {prepared.base.name!r} does not compare {pairing.left} with {pairing.right}: "
            "there are no candidates to re-rank; align with similarity dot"
        )
    left, right = (
        Side(prepared.vectors(space, modality), places.get(modality))
        for modality in (pairing.left, pairing.right)
    )
    return Matched(Kind(space, pairing.left, pairing.right), pairing, left, right)
