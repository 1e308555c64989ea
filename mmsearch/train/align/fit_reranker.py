"""A re-ranker is fitted, and judged on the base model's first candidates."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mmsearch.encode import LocalEncoder, aligned, rerank
from mmsearch.encode.rerank import PairKind
from mmsearch.records import FieldName
from mmsearch.train.align.options import Similarity
from mmsearch.train.align.prepared import Prepared, shared_space
from mmsearch.train.align.report import Change
from mmsearch.train.align.rerank import CANDIDATES, Matched, RerankTask, Side, arrays
from mmsearch.train.journal import Journal
from mmsearch.train.loop import train
from mmsearch.train.pairs import Pairing
from mmsearch.train.places import Places, embed_places
from mmsearch.train.splits import Split

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
        change
        for matched in splits[Split.TEST]
        for change in prepared.changes(matched.pairing, task.figures(matched))
    ]
    return settings, changes, journal


def _places(prepared: Prepared, tell: Tell) -> dict[FieldName, Places]:
    """The local features of every part, in each space in which it meets others."""
    found: dict[FieldName, Places] = {}
    for pairing in prepared.pairings:
        for name in _fields(prepared, pairing):
            encoder = prepared.base.encoder(name)
            assert isinstance(encoder, LocalEncoder)
            if name not in found:
                parts, home = prepared.parts[name.modality], prepared.home / "features"
                found[name] = embed_places(parts, name, encoder, home, tell)
    return found


def _fields(prepared: Prepared, pairing: Pairing) -> tuple[FieldName, FieldName]:
    """Where the base compares both sides of a pairing."""
    space = shared_space(prepared.base, pairing)
    assert space is not None
    return FieldName(space, pairing.left), FieldName(space, pairing.right)


def _matched(prepared: Prepared, pairing: Pairing, places: Mapping[FieldName, Places]) -> Matched:
    names = _fields(prepared, pairing)
    left, right = (Side(prepared.features[n.modality].fields[n], places.get(n)) for n in names)
    return Matched(PairKind(names[0].space, pairing.left, pairing.right), pairing, left, right)
