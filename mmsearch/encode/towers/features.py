"""What the towers see: a square of pixels, or the log-mel spectrogram of a sound. NumPy only."""

from functools import lru_cache
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.encode.seeing import Box, middle
from mmsearch.encode.towers.shapes import SoundFeatures
from mmsearch.records import FloatArray, Sound

MAX_ASPECT = 2.0

RATE_HZ = 16_000
FRAME = 400
HOP = 160
FFT = 512
MELS = 64
MEL_LOW_HZ = 60.0
MEL_HIGH_HZ = 7800.0
FRAMES_PER_SECOND = RATE_HZ // HOP
MAX_SECONDS = 10
RMS_FLOOR = 1e-4
"""Below this loudness (-80 dB) a sound is treated as silence, not amplified to full level."""

COEFFICIENTS = 40
"""Of the cepstrum that are kept: what changes over less than three bands is left out."""


def preprocessing(side: int, sound: SoundFeatures) -> str:
    """What is done before the towers, for the hash that identifies a space.

    Args:
        side: Pixels of the square that pictures are squeezed to.
        sound: What the audio tower sees.
    """
    cepstrum = f", {COEFFICIENTS} MFCC" if sound is SoundFeatures.MFCC else ""
    return (
        f"image: centre crop to aspect <= {MAX_ASPECT}, bicubic to {side} px, RGB;"
        f" audio: mono {RATE_HZ} Hz, RMS to 1 (floor {RMS_FLOOR}), wrapped to whole seconds"
        f" (1 to {MAX_SECONDS}), Hann {FRAME}, hop {HOP}, FFT {FFT}, {MELS} mels from {MEL_LOW_HZ}"
        f" to {MEL_HIGH_HZ} Hz, log{cepstrum}; text: Unicode NFD, lower case, WordPiece"
    )


def pixels(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    """Shrink an RGB picture to a tower's square: (side, side, 3) uint8.

    The picture is squeezed, not cropped, so that what stands at its sides is seen too; the towers
    are trained on squeezed crops. Only very long pictures lose their ends.
    """
    width, height = picture.size
    wide, high = _kept(picture.size)
    left, top = (width - wide) / 2, (height - high) / 2
    small = picture.resize(
        (side, side),
        Image.Resampling.BICUBIC,
        box=(left, top, left + wide, top + high),
        reducing_gap=2.0,
    )
    return np.asarray(small, np.uint8)


def seen(size: tuple[int, int]) -> Box:
    """What of a picture of some width and height ``pixels`` keeps."""
    return middle(size, *_kept(size))


def _kept(size: tuple[int, int]) -> tuple[float, float]:
    """Width and height of the middle that is not cut off."""
    width, height = size
    return min(width, height * MAX_ASPECT), min(height, width * MAX_ASPECT)


def resample(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Bring a mono sound to 16 kHz by cutting or padding its spectrum: (n,) float32.

    The sound is padded to whole seconds first, which makes both lengths integers for any rate.
    """
    if rate_hz == RATE_HZ:
        return np.asarray(samples, np.float32)
    step = rate_hz // gcd(rate_hz, RATE_HZ)
    blocks = ceil(len(samples) / step)
    length = blocks * step * RATE_HZ // rate_hz
    spectrum = np.fft.rfft(samples, blocks * step)
    wanted = ceil(len(samples) * RATE_HZ / rate_hz)
    scaled = np.fft.irfft(spectrum[: length // 2 + 1], length)[:wanted] * (RATE_HZ / rate_hz)
    return scaled.astype(np.float32)


def wrap(samples: FloatArray) -> FloatArray:
    """Repeat a sound from its start up to the next whole second, 1 to 10 s: (n,) float32.

    Silence at the end would change the average over time; the sound itself hardly does.
    """
    seconds = min(max(ceil(len(samples) / RATE_HZ), 1), MAX_SECONDS)
    return np.resize(samples, seconds * RATE_HZ)


def level(samples: FloatArray) -> FloatArray:
    """Scale a sound to a root mean square of 1, silence excepted: (n,) float32."""
    peak = max(float(np.abs(samples).max(initial=0.0)), 1e-30)
    rms = peak * float(np.sqrt(np.mean(np.square(samples / peak))))
    return np.asarray(samples / max(rms, RMS_FLOOR), np.float32)


def log_mel(samples: FloatArray) -> FloatArray:
    """Log-mel spectrogram of 16 kHz samples: (64, n // 160) float32, roughly within -2 to 2."""
    padded = np.pad(samples, (FRAME // 2, FRAME // 2), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP][: len(samples) // HOP]
    power = np.square(np.abs(np.fft.rfft(frames * _window(), FFT)))
    mel = _filters() @ power.T.astype(np.float32)
    return np.asarray((np.log(mel + 1e-3) - 1.0) / 4.0, np.float32)


def spectrogram(sound: Sound) -> NDArray[np.float16]:
    """Everything before the audio tower: (64, 100 x seconds) float16."""
    samples = level(
        wrap(resample(sound.samples[: sound.sample_rate_hz * MAX_SECONDS], sound.sample_rate_hz))
    )
    return log_mel(samples).astype(np.float16)


@lru_cache(maxsize=1)
def cepstrum() -> FloatArray:
    """What turns log-mels into MFCC: (40, 64) float32.

    The first rows of the orthonormal DCT-II (Davis & Mermelstein 1980, section II), divided by
    the root of the number of bands, so that the first coefficient is the mean of the bands.
    """
    row, band = np.arange(COEFFICIENTS)[:, None], np.arange(MELS)[None]
    cosines = np.cos(np.pi / MELS * (band + 0.5) * row)
    return np.asarray(cosines * np.where(row, np.sqrt(2), 1) / MELS, np.float32)


@lru_cache(maxsize=1)
def _window() -> FloatArray:
    return np.hanning(FRAME + 1)[:FRAME].astype(np.float32)


@lru_cache(maxsize=1)
def _filters() -> FloatArray:
    """Triangular filters on the mel scale (HTK): (64, 257) float32."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (MEL_LOW_HZ, MEL_HIGH_HZ))
    edges_hz = 700 * (10 ** (np.linspace(low, high, MELS + 2) / 2595) - 1)
    bins_hz = np.arange(FFT // 2 + 1) * RATE_HZ / FFT
    rising = (bins_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    falling = (edges_hz[2:, None] - bins_hz) / np.diff(edges_hz)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
