"""What an index holds and answers, in a form that compares between indexes."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
from fakes import fake_model
from PIL import Image

import mmsearch
from mmsearch.store.reader import Reader

Contents: TypeAlias = dict[bytes, Any]
QUERIES = ("word3", "word17 dog", "grass", "red", "high")
RATE_HZ = 4000


def write_texts(folder: Path, count: int, paragraphs: int = 5) -> Path:
    """Make text files with a word of their own; each paragraph becomes a passage."""
    folder.mkdir(exist_ok=True)
    for n in range(count):
        lines = [f"word{n} and dog number {n} on the grass, line {p}" for p in range(paragraphs)]
        (folder / f"{n}.txt").write_text("\n\n".join(line.ljust(70, ".") for line in lines))
    return folder


def write_media(folder: Path, count: int) -> Path:
    """Make pictures and sounds."""
    folder.mkdir(exist_ok=True)
    colours = ("red", "green", "blue")
    for n in range(count):
        size = (8 + n, 8)
        Image.new("RGB", size, colours[n % 3]).save(folder / f"{colours[n % 3]}{n}.png")
        hertz = (200, 1500)[n % 2]
        wave = np.sin(np.arange(RATE_HZ * 11 + n) * 2 * np.pi * hertz / RATE_HZ) * 0.5
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
                    {
                        name: field.gather(
                            field.find(np.array(stored.chunk_ids(name.modality), np.int64))
                        ).tolist()
                        for name, field in view.state.fields.items()
                    },
                )
                for stored in view.snapshot.items()
            }
    finally:
        reader.close()


def answers_of(folder: Path) -> list[Any]:
    """What searches find, ids left out."""
    with mmsearch.open(folder, model=fake_model()) as index:
        found = [index.search(query, k=8) for query in QUERIES]
        found.append(index.search("dog", k=5, where="name LIKE '%1%' OR NOT (name = 'x')"))
        return [[_comparable(hit) for hit in hits] for hits in found]


def _comparable(hit: mmsearch.Hit) -> tuple[Any, ...]:
    signals = {name: round(value, 4) for name, value in hit.signals.items()}
    return hit.item.source, hit.part, hit.chunk, hit.text, round(hit.score, 3), signals
