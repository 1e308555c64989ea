"""Encoders that know what items mean, but say it in a way of their own; and pairs for them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from mmsearch.config import InputLimits
from mmsearch.encode import Model
from mmsearch.encode.heads import unit
from mmsearch.records import FloatArray, Modality, Sound, Space

COUNT = 240


class Turned:
    """Knows every item's meaning, but says it in its own modality's way, with noise."""

    batch_size = 32
    limits = InputLimits()

    def __init__(self, modality: Modality, dim: int, space: str = "turned") -> None:
        self.modality = modality
        self.space = Space(space, dim, True, "tests", f"{dim:064d}")
        self._seed = sum(modality.encode())
        self._turn = np.random.default_rng(self._seed).standard_normal((12, dim)).astype(np.float32)

    def fits(self, text: str) -> bool:
        return True

    def prepare(self, decoded: Any) -> int:
        if isinstance(decoded, str):
            return int(decoded.split()[-1])
        if isinstance(decoded, Sound):
            return round(float(np.median(decoded.samples)) * 2**15)
        red, green, _ = np.asarray(decoded)[0, 0]
        return int(red) * 256 + int(green)

    def encode(self, prepared: Sequence[int]) -> FloatArray:
        found = []
        for number in prepared:
            meaning = np.random.default_rng(number).standard_normal(12)
            noise = np.random.default_rng([number, self._seed]).standard_normal(12)
            found.append((meaning + 0.15 * noise) @ self._turn)
        rows = np.array(found, np.float32)
        return unit(rows)


def turned(dims: tuple[int, int] = (24, 24)) -> Model:
    text_space = "turned" if dims[0] == dims[1] else "other"
    image, text = Turned(Modality.IMAGE, dims[0]), Turned(Modality.TEXT, dims[1], text_space)
    return Model("turned", (image, text))


def two_spaces() -> Model:
    """Pictures and texts meet in one space, sounds and texts in another."""
    spaces = (("visual", 24, Modality.IMAGE), ("acoustic", 20, Modality.AUDIO))
    encoders = [Turned(side, dim, n) for n, dim, kind in spaces for side in (Modality.TEXT, kind)]
    return Model("pair", tuple(encoders))


def write_sound(path: Path, number: int) -> None:
    """A second of silence at a level that says the number."""
    soundfile.write(path, np.full(8_000, number / 2**15), 8_000, subtype="PCM_16")


def write_pairs(home: Path, count: int = COUNT, **columns: Sequence[object]) -> Path:
    rows = []
    for number in range(count):
        path = home / f"{number}.png"
        Image.new("RGB", (8, 8), (number // 256, number % 256, 0)).save(path)
        row: dict[str, object] = {"image": path.name, "text": f"item {number}"}
        rows.append(row | {name: values[number] for name, values in columns.items()})
    manifest = home / "pairs.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest
