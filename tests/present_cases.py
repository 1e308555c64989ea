"""Hits for the tests of ``mmsearch.present``, friendly and hostile."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from mmsearch.records import Chunk, ColumnValue, Hit, Item, Modality, Part

HOSTILE_NAMES = (
    "<script>document.title = 'owned'</script>.png",
    '" onerror="document.title = \'owned\'".png',
    "' autofocus onfocus='document.title=1'.png",
    "javascript:document.title='owned'.png",
    "</style></title><script>document.title='owned'</script>.png",
    "{{ 7 * 7 }}{% raw %}.png",
    "\x1b]0;owned\x07\x1b[2Jred.png",
    "two\nlines\tand a tab\r.png",
    "gnp.\u202eexe\u2066.png",
    os.fsdecode(b"caf\xe9-\xff.png"),
    "c1\x9b31m\x85.png",
    "[bold red]:smile:[/].png",
)
WHOLE = Chunk()


def hit_of(
    path: Path | str,
    modality: Modality,
    *,
    rank: int = 1,
    chunk: Chunk = WHOLE,
    text: str | None = None,
    columns: Mapping[str, ColumnValue] | None = None,
    relevance: float | None = None,
) -> Hit:
    """A hit on a file of its own."""
    item = Item(str(path), (Part("file", modality, str(path)),), columns=columns or {}, id=rank)
    signals = {"cosine": 0.25, "lexical": 0.0}
    return Hit(rank, 0.5 / rank, relevance, item, item.parts[0], chunk, text, signals)


def row_hit(folder: Path, caption: str = "A red square") -> Hit:
    """A hit on the caption of a manifest row that has a picture and a sound as well."""
    parts = (
        Part("image", Modality.IMAGE, str(picture(folder / "row.png"))),
        Part("audio", Modality.AUDIO, str(tone(folder / "row.wav"))),
        Part("caption", Modality.TEXT, text=caption),
    )
    columns: dict[str, ColumnValue] = {"title": "Row seven", "tags": ("red", "square")}
    item = Item(str(folder / "list.jsonl"), parts, "7", columns, 3)
    return Hit(1, 0.5, None, item, parts[2], Chunk(0, len(caption)), caption, {"cosine": 0.5})


def picture(path: Path, size: tuple[int, int] = (640, 320), orientation: int = 1) -> Path:
    """A red picture, which its EXIF data may turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, "red").save(path, exif=exif)
    return path


def tone(path: Path, seconds: float = 3.0, rate_hz: int = 16_000, channels: int = 1) -> Path:
    """A sound whose loudness rises from one second to the next."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.sin(2 * np.pi * 440 * t) * (np.floor(t) + 1) / 10
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate_hz)
    return path
