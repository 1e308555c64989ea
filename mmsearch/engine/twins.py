"""Items of equal contents have equal vectors: an item takes over those of its twin."""

from itertools import islice

import numpy as np

from mmsearch.engine.jobs import Job
from mmsearch.records import Item
from mmsearch.store.metadata import MAX_CHUNKS, StoredItem
from mmsearch.store.reader import View

_EQUALS = 16
"""How many items of equal contents are looked at: a thousand copies must not cost a million."""


def find_twins(job: Job, view: View) -> list[StoredItem]:
    """Return stored items that have all the vectors and texts that an item needs."""
    ids_of_equals = islice(view.snapshot.with_contents(job.contents), _EQUALS)
    equals = [stored for i in ids_of_equals if (stored := view.snapshot.item(i))]
    return [stored for stored in equals if _is_twin(stored, job.item)]


def _is_twin(stored: StoredItem, item: Item) -> bool:
    kinds = [(part.modality, part.path is None) for part in item.parts]
    others = [(part.modality, part.path is None) for part in stored.item.parts]
    return kinds == others and all(stored.chunks)


def take_over(job: Job, twin: StoredItem, view: View) -> None:
    """Give an item the vectors and texts of its twin."""
    job.reused = True
    job.chunks = list(twin.chunks)
    for name, field in view.state.fields.items():
        ids = np.array(twin.chunk_ids(name.modality), np.int64)
        vectors = field.gather(field.find(ids))
        if len(ids):
            job.vectors[name] = list(vectors.astype(np.float16))
    for chunk_id in twin.passage_ids():
        text = view.snapshot.passage(chunk_id)
        if text is not None:
            job.passages[chunk_id & (MAX_CHUNKS - 1)] = text
