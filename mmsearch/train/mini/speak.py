"""Words that espeak-ng speaks, in many voices; install it with ``apt install espeak-ng``."""

import io
import subprocess

import numpy as np
import soundfile

from mmsearch.encode.towers.features import RATE_HZ, resample
from mmsearch.errors import TrainingError
from mmsearch.records import FloatArray

VOICES = ("m1", "m2", "m3", "m4", "m5", "m7", "f1", "f2", "f3", "f4", "f5", "klatt", "croak")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")
WORDS = (
    *("dog", "cat", "bird", "horse", "man", "woman", "baby", "boy", "girl", "people"),
    *("water", "rain", "wind", "thunder", "ocean", "river", "fire", "snow", "beach", "mountain"),
    *("car", "train", "airplane", "helicopter", "motorcycle", "bicycle", "truck", "boat"),
    *("door", "clock", "bell", "telephone", "keyboard", "music", "guitar", "piano", "drum"),
    *("red", "green", "blue", "yellow", "orange", "black", "white", "hello", "yes", "no", "stop"),
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
)
SPOKEN = tuple(f"the spoken word {word}" for word in WORDS)
"""The labels of spoken words."""


def speak(label: str, rng: np.random.Generator) -> FloatArray:
    """Speak the word of a label and pause: (n,) float32, 16 kHz.

    Raises:
        TrainingError: espeak-ng is not installed.
    """
    voice = f"{rng.choice(ACCENTS)}+{rng.choice(VOICES)}"
    pace, pitch = int(rng.integers(110, 220)), int(rng.integers(20, 80))
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(pace), "-p", str(pitch)]
    try:
        done = subprocess.run([*command, label.split()[-1]], capture_output=True, check=True)
    except FileNotFoundError as error:
        raise TrainingError("espeak-ng is not installed; it speaks training words") from error
    samples, rate_hz = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    pause = np.zeros(int(rng.uniform(0.1, 0.8) * RATE_HZ), np.float32)
    return np.concatenate([resample(samples, rate_hz), pause])
