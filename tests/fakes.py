"""Deterministic encoders at the public seam: a word, a colour, a pitch each point somewhere."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmsearch.config import InputLimits
from mmsearch.encode import Model
from mmsearch.records import FloatArray, Modality, Sound, Space

DIM = 32
SPACE = Space("fake", DIM, True, "tests", "0" * 64)


def word_vector(word: str, dim: int = DIM) -> FloatArray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


class FakeEncoder:
    """A text is the sum of its words, a picture its colour's name, a sound its pitch's."""

    space = SPACE
    limits = InputLimits(text_chars=80)
    batch_size = 8

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

    def fits(self, text: str) -> bool:
        return True

    def prepare(self, decoded: Any) -> list[str]:
        if isinstance(decoded, str):
            return decoded.lower().split() or ["nothing"]
        if isinstance(decoded, Sound):
            spectrum = np.abs(np.fft.rfft(decoded.samples))
            hertz = spectrum.argmax() * decoded.sample_rate_hz / max(1, len(decoded.samples))
            return ["high" if hertz > 1000 else "low"]
        red, green, blue = np.asarray(decoded).reshape(-1, 3).mean(axis=0)
        return [{red: "red", green: "green", blue: "blue"}[max(red, green, blue)]]

    def encode(self, prepared: Sequence[list[str]]) -> FloatArray:
        dim = self.space.dim
        rows = np.stack([np.sum([word_vector(w, dim) for w in ws], axis=0) for ws in prepared])
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit.astype(np.float32)


def fake_model() -> Model:
    return Model(
        "fake", tuple(FakeEncoder(m) for m in (Modality.TEXT, Modality.IMAGE, Modality.AUDIO))
    )


class NewerEncoder(FakeEncoder):
    """Another version of the same model: other dimensions, shorter passages and windows."""

    space = Space("fake", 48, True, "tests", "1" * 64)
    limits = InputLimits(text_chars=50, window_s=4.0, hop_s=2.0)


def newer_model() -> Model:
    return Model(
        "fake", tuple(NewerEncoder(m) for m in (Modality.TEXT, Modality.IMAGE, Modality.AUDIO))
    )
