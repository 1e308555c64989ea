"""The few things that sounds are made of: filtered noise, ringing tones, voices, echoes."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import FloatArray

SAMPLE_RATE_HZ = 22_050
_NYQUIST_HZ = SAMPLE_RATE_HZ / 2

Curve = NDArray[np.floating]


def samples(seconds: float) -> int:
    """How many samples that many seconds are."""
    return int(seconds * SAMPLE_RATE_HZ)


def silence(seconds: float) -> FloatArray:
    """(n,) zeros to build on."""
    return np.zeros(samples(seconds), np.float32)


def time_s(seconds: float) -> Curve:
    """(n,) the time of each sample."""
    return np.arange(samples(seconds)) / SAMPLE_RATE_HZ


def ramp(seconds: float) -> Curve:
    """(n,) from 0 to 1."""
    return np.linspace(0.0, 1.0, samples(seconds))


def fade(seconds: float, half_life_s: float) -> Curve:
    """(n,) an exponential decay from 1."""
    return np.asarray(0.5 ** (time_s(seconds) / half_life_s))


def noise(
    random: np.random.Generator, seconds: float, low_hz: float, high_hz: float, order: int = 2
) -> FloatArray:
    """Gaussian noise of unit RMS in a band, with the slopes of Butterworth filters of ``order``."""
    size = samples(seconds)
    spectrum = np.fft.rfft(random.standard_normal(size))
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), 1e-3)
    spectrum /= np.sqrt(1 + (low_hz / frequency) ** (2 * order))
    spectrum /= np.sqrt(1 + (frequency / high_hz) ** (2 * order))
    out = np.fft.irfft(spectrum, size)
    return np.asarray(out / np.sqrt(np.mean(out**2)), np.float32)


def ring(tone_hz: float, seconds: float, half_life_s: float) -> FloatArray:
    """A struck tone that fades away."""
    wave = np.sin(2 * np.pi * tone_hz * time_s(seconds)) * fade(seconds, half_life_s)
    return np.asarray(wave, np.float32)


def sweep(pitch_hz: Curve) -> FloatArray:
    """A pure tone that follows a pitch curve, one value per sample."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    return np.sin(phase).astype(np.float32)


def voice(pitch_hz: Curve, *formants_hz: float) -> FloatArray:
    """A throat or an engine: all harmonics of a pitch curve, stronger near the formants."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    out = np.zeros(len(phase))
    for harmonic in range(1, 41):
        tone = harmonic * pitch_hz
        level = harmonic**-0.9 * (tone < 0.95 * _NYQUIST_HZ)
        body = 0.15 + sum(np.exp(-(((tone - peak) / (0.3 * peak)) ** 2)) for peak in formants_hz)
        out += level * body * np.sin(harmonic * phase)
    return out.astype(np.float32)


def smooth_random(random: np.random.Generator, seconds: float, per_second: float) -> Curve:
    """(n,) a curve that wanders between 0 and 1, with so many turns a second."""
    knots = random.uniform(size=int(seconds * per_second) + 2)
    return np.interp(np.linspace(0, len(knots) - 1, samples(seconds)), range(len(knots)), knots)


def add(target: FloatArray, start_s: float, sound: Curve) -> None:
    """Mix a sound into another in place; what would hang over the end is cut."""
    start = samples(start_s)
    part = sound[: max(len(target) - start, 0)]
    target[start : start + len(part)] += part.astype(np.float32)


def echo(sound: FloatArray, delay_s: float, level: float) -> FloatArray:
    """The sound with three fading echoes, as from walls around a yard."""
    out = sound.copy()
    for bounce in range(1, 4):
        add(out, bounce * delay_s, level**bounce * sound)
    return out
