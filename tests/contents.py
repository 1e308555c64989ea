"""What an index holds and answers, in a form that compares between indexes."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
from fakes import fake_model
from PIL import Image

import mmsearch
from mmsearch.records import FieldName
from mmsearch.store.metadata import StoredItem
from mmsearch.store.reader import Reader, View

Contents: TypeAlias = dict[bytes, Any]
Answers: TypeAlias = dict[tuple[str, str], tuple[Any, list[float]]]
QUERIES = ("word3", "word17 dog", "line 2", "red", "high")
"""Each has a word in few passages: of many that are equally good, ids decide which are scored."""
RATE_HZ = 4000


def write_texts(folder: Path, count: int, paragraphs: int = 5) -> Path:
    """Make text files with a word of their own; each paragraph becomes a passage."""
    folder.mkdir(exist_ok=True)
    for n in range(count):
        lines = [f"word{n} and dog number {n} on the grass, line {p}" for p in range(paragraphs)]
        (folder / f"{n}.txt").write_text("\n\n".join(line.ljust(70, ".") for line in lines))
    return folder


def write_media(folder: Path, count: int) -> Path:
    """Make pictures, and sounds of one window: equal windows of a sound would be equally good."""
    folder.mkdir(exist_ok=True)
    colours = ("red", "green", "blue")
    for n in range(count):
        size = (8 + n, 8)
        Image.new("RGB", size, colours[n % 3]).save(folder / f"{colours[n % 3]}{n}.png")
        hertz = (200, 1500)[n % 2]
        wave = np.sin(np.arange(RATE_HZ * 9 + n) * 2 * np.pi * hertz / RATE_HZ) * 0.5
        soundfile.write(folder / f"{('low', 'high')[n % 2]}{n}.wav", wave, RATE_HZ)
    return folder


def contents_of(folder: Path) -> Contents:
    """Every item by its key: columns, parts, chunks, passages and float16 vectors."""
    reader = Reader(folder)
    try:
        with reader.view() as view:
            return {
                stored.item.key: (
                    dict(stored.item.columns),
                    stored.item.parts,
                    stored.chunks,
                    [view.snapshot.passage(i) for i in stored.passage_ids()],
                    _vectors(view, stored),
                )
                for stored in view.snapshot.items()
            }
    finally:
        reader.close()


def _vectors(view: View, stored: StoredItem) -> dict[FieldName, list[list[float]]]:
    rows = {
        name: field.find(np.array(stored.chunk_ids(name.modality), np.int64))
        for name, field in view.state.fields.items()
    }
    return {n: view.state.fields[n].gather(r).tolist() for n, r in rows.items() if len(r)}


def answers_of(folder: Path, model: mmsearch.Model | None = None) -> Answers:
    """What searches find: by query and source, because equal scores are ordered by id."""
    with mmsearch.open(folder, model=model or fake_model()) as index:
        found = {query: index.search(query, k=1000) for query in QUERIES}
        found["where"] = index.search("word5", k=1000, where="path LIKE '%1.%'")
        for hits in found.values():
            assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
        return {
            (query, hit.item.source): ((hit.part, hit.chunk, hit.text), _numbers(hit))
            for query, hits in found.items()
            for hit in hits
        }


def _numbers(hit: mmsearch.Hit) -> list[float]:
    return [hit.score, *hit.signals.values()]


def differences(left: Answers, right: Answers) -> list[object]:
    """Where two sets of answers disagree, numbers up to rounding."""
    return [
        (key, left.get(key), right.get(key))
        for key in left.keys() | right.keys()
        if key not in left
        or key not in right
        or left[key][0] != right[key][0]
        or not np.allclose(left[key][1], right[key][1], atol=1e-3)
    ]
