"""Small files for tests: a colour, a pitch, some words."""

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
PITCHES_HZ = {"high": 3000.0, "low": 200.0}
RATE_HZ = 16_000


def picture(path: Path, colour: str = "red", side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), COLOURS[colour]).save(path)
    return path


def sound(path: Path, pitch: str = "high", seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * PITCHES_HZ[pitch] * times), RATE_HZ)
    return path


def text(path: Path, words: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words, encoding="utf-8")
    return path
