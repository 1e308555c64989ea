"""Sounds that the project makes itself, each with the words for it."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode.towers.features import RATE_HZ
from mmsearch.records import FloatArray

Generator = np.random.Generator
Samples: TypeAlias = NDArray[np.floating[Any]]


def synthesise(label: str, seconds: float, rng: Generator) -> FloatArray:
    """Make one sound of a label of ``SYNTHETIC``: (n,) float32, 16 kHz."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return SYNTHETIC[label](time_s, rng).astype(np.float32)


def _tone(time_s: Samples, rng: Generator) -> Samples:
    pitch_hz = np.exp(rng.uniform(np.log(200), np.log(4000)))
    overtones = [rng.uniform(0, 1) ** 2 / number for number in range(1, 5)]
    return _sum(2 * np.pi * pitch_hz * time_s, overtones)


def _beeps(time_s: Samples, rng: Generator) -> Samples:
    rate_hz, duty = rng.uniform(1, 5), rng.uniform(0.2, 0.6)
    return _tone(time_s, rng) * ((time_s * rate_hz) % 1 < duty)


def _sweep(time_s: Samples, rng: Generator, up: bool) -> Samples:
    low, high = np.exp(rng.uniform(np.log(150), np.log(600))), rng.uniform(1500, 6000)
    period_s = rng.uniform(0.5, 4.0)
    part = (time_s % period_s) / period_s
    pitch_hz = low * (high / low) ** (part if up else 1 - part)
    return np.asarray(np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ))


def _siren(time_s: Samples, rng: Generator) -> Samples:
    middle_hz, depth = rng.uniform(500, 1200), rng.uniform(0.2, 0.45)
    pitch_hz = middle_hz * (1 + depth * np.sin(2 * np.pi * rng.uniform(0.2, 3) * time_s))
    return _sum(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ, [1.0, 0.4, 0.2])


def _noise(time_s: Samples, rng: Generator) -> Samples:
    spectrum = np.fft.rfft(rng.standard_normal(len(time_s)))
    tilt = np.arange(1, len(spectrum) + 1) ** -rng.uniform(0, 0.3)
    return np.asarray(np.fft.irfft(spectrum * tilt, len(time_s)))


def _clicks(time_s: Samples, rng: Generator) -> Samples:
    rate_hz, decay, pitch_hz = rng.uniform(1, 8), rng.uniform(100, 600), rng.uniform(800, 4000)
    since_s = time_s % (1 / rate_hz)
    return np.asarray(np.exp(-decay * since_s) * np.sin(2 * np.pi * pitch_hz * since_s))


def _hum(time_s: Samples, rng: Generator) -> Samples:
    return _sum(2 * np.pi * rng.uniform(45, 120) * time_s, list(rng.uniform(0.1, 1.0, 8)))


def _sum(phase: Samples, amplitudes: list[float]) -> Samples:
    """Overtones of a phase: the first amplitude is the fundamental's."""
    waves = [size * np.sin(number * phase) for number, size in enumerate(amplitudes, 1)]
    return np.asarray(np.sum(waves, axis=0))


SYNTHETIC: dict[str, Callable[[Samples, Generator], Samples]] = {
    "steady tone": _tone,
    "beeps": _beeps,
    "rising tone": lambda time_s, rng: _sweep(time_s, rng, up=True),
    "falling tone": lambda time_s, rng: _sweep(time_s, rng, up=False),
    "siren": _siren,
    "white noise": _noise,
    "clicks": _clicks,
    "low hum": _hum,
}
"""Every label with what makes its sound from times (n,) in seconds."""
