"""Judging a model on pairs: exact search, both ways."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode import Model, asking, load_model
from mmsearch.engine.jobs import Job, prepare
from mmsearch.engine.pipeline import Batcher, Cores
from mmsearch.errors import UsageError
from mmsearch.metrics import first_relevant_ranks, hit_at_k
from mmsearch.records import FieldName, FloatArray, Item, Modality
from mmsearch.sources import find_items

_QUERY_BLOCK = 512


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """One direction.

    Attributes:
        direction: ``text->image`` and the like.
        queries: How many queries.
        gallery: How many candidates each was ranked against.
        failed: How many rows were left out, because a part of them cannot be decoded.
        hit_at_1: Share of queries whose first candidate is relevant; so on for 5 and 10.
        hit_at_5: See ``hit_at_1``.
        hit_at_10: See ``hit_at_1``.
    """

    direction: str
    queries: int
    gallery: int
    failed: int
    hit_at_1: float
    hit_at_5: float
    hit_at_10: float


def evaluate_model(
    pairs: str | os.PathLike[str], *, text_columns: Sequence[str] = (), model: str | Model = "mini"
) -> list[ModelEvaluation]:
    """Rank every row's pictures and sounds by every row's texts, and the other way round.

    A text is relevant for the pictures and sounds of its own row, and they for it.

    Args:
        pairs: A manifest whose rows have a text and a picture or a sound.
        text_columns: The columns that hold the texts, besides ``text``.
        model: The model to judge.

    Raises:
        UsageError: The manifest holds no pairs.
    """
    loaded = load_model(model) if isinstance(model, str) else model
    found = list(find_items([pairs], text_columns=text_columns))
    items = [item for item in found if isinstance(item, Item)]
    jobs = _embed_rows(items, loaded)
    fields = queries = _fields(jobs)
    if (asked := asking(loaded)) is not loaded:
        queries = _fields(_embed_rows(items, asked))
    evaluations = [
        evaluation
        for name in sorted(fields)
        if name.modality is not Modality.TEXT
        for evaluation in _both_ways(queries, fields, name, failed=len(found) - len(jobs))
    ]
    if not evaluations:
        raise UsageError(f"{pairs}: no row pairs a text with a picture or a sound; see --text")
    return evaluations


Embedded: TypeAlias = tuple[NDArray[np.int64], FloatArray]


def _embed_rows(items: Sequence[Item], model: Model) -> list[Job]:
    """Embed items; those of which a part fails are left out."""
    jobs = [Job(item, "", None) for item in items]
    batcher = Batcher(model, Cores(), lambda job: None)
    for job in jobs:
        for prepared in prepare(job, model):
            batcher.add(prepared)
    batcher.flush()
    return [job for job in jobs if not job.failures]


def _fields(jobs: Sequence[Job]) -> dict[FieldName, Embedded]:
    """Return for each field the row numbers and the (n, dim) vectors of all its chunks."""
    owners: dict[FieldName, list[int]] = {}
    vectors: dict[FieldName, list[FloatArray]] = {}
    for number, job in enumerate(jobs):
        for name, rows in job.vectors.items():
            owners.setdefault(name, []).extend([number] * len(rows))
            vectors.setdefault(name, []).extend(rows)
    return {
        name: (np.array(owners[name]), np.stack(vectors[name]).astype(np.float32))
        for name in vectors
    }


def _both_ways(
    queries: dict[FieldName, Embedded],
    fields: dict[FieldName, Embedded],
    media: FieldName,
    failed: int,
) -> Iterator[ModelEvaluation]:
    text = FieldName(media.space, Modality.TEXT)
    if text not in fields:
        return
    if not np.isin(fields[text][0], fields[media][0]).any():
        return
    for query, gallery in ((text, media), (media, text)):
        direction = f"{query.modality}->{gallery.modality}"
        yield _one_way(direction, queries[query], fields[gallery], failed)


def _one_way(direction: str, queries: Embedded, gallery: Embedded, failed: int) -> ModelEvaluation:
    owners, vectors = gallery
    answered = np.isin(queries[0], owners)
    numbers, asked = queries[0][answered], queries[1][answered]
    ranks = np.concatenate(
        [
            first_relevant_ranks(
                asked[start : start + _QUERY_BLOCK] @ vectors.T,
                [np.flatnonzero(owners == n) for n in numbers[start : start + _QUERY_BLOCK]],
            )
            for start in range(0, len(asked), _QUERY_BLOCK)
        ]
    )
    hits = (hit_at_k(ranks, k) for k in (1, 5, 10))
    return ModelEvaluation(direction, len(ranks), len(vectors), failed, *hits)
