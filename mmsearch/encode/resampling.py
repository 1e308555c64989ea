"""Sounds at the sample rate that a checkpoint expects."""

from math import ceil, gcd

import numpy as np

from mmsearch.records import FloatArray, Sound

LARGEST_FILTER = 1_000_000
"""Entries of a resampling filter: 8 MB, which torchaudio makes anew for each sound."""


def resample(sound: Sound, rate_hz: int) -> FloatArray:
    """Bring a sound to another sample rate: (ceil(n * rate_hz / its rate),) float32.

    torchaudio's filter has an entry for each pair of phases of the two rates. The usual rates
    have large common divisors, but 47,999 to 48,000 Hz would take 18 GB, so such sounds go through
    the spectrum, padded to whole seconds, which have whole numbers of samples at both rates.
    """
    import torch
    from torchaudio import functional

    old_hz, common_hz = sound.sample_rate_hz, gcd(sound.sample_rate_hz, rate_hz)
    if (old_hz // common_hz) * (rate_hz // common_hz) <= LARGEST_FILTER:
        resampled = functional.resample(torch.tensor(sound.samples), old_hz, rate_hz)
        return np.asarray(resampled.numpy(), np.float32)
    seconds = ceil(len(sound.samples) / old_hz)
    spectrum = np.fft.rfft(sound.samples, seconds * old_hz)[: seconds * rate_hz // 2 + 1]
    samples = np.fft.irfft(spectrum, seconds * rate_hz) * (rate_hz / old_hz)
    return samples[: ceil(len(sound.samples) * rate_hz / old_hz)].astype(np.float32)
