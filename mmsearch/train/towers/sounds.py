"""Sounds heard differently each time: shifted, louder, noisy, coloured, higher, mixed, cut.

All of it on log-mels, ``(log(power + 0.001) - 1) / 4`` in each band and frame: the powers of sounds
that are heard together add up.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FLOOR = 1e-3
MASKED_BANDS = 8
MASKED_FRAMES = 40
LOUDER = 0.05
"""Standard deviation of the change in loudness, in log-mels: 0.2 nepers of power, 0.9 dB."""

NOISE_DB = (-40.0, -10.0)
"""Power of the noise, from the mean power of the sound."""


def stretch(
    sounds: list[NDArray[np.float16]], frames: int, rng: np.random.Generator | None
) -> Tensor:
    """As many frames of each sound, from anywhere in it, or from its start without ``rng``.

    A sound that is too short is repeated, and one that starts late goes on at its beginning.

    Args:
        sounds: Each (its frames, 64).
        frames: How many.
        rng: Of the starts.

    Returns:
        (n, 64, frames) float32.
    """
    starts = [0 if rng is None else int(rng.integers(len(sound))) for sound in sounds]
    rows = [
        sound.take(range(start, start + frames), axis=0, mode="wrap")
        for sound, start in zip(sounds, starts, strict=True)
    ]
    return torch.from_numpy(np.stack(rows).astype(np.float32)).transpose(1, 2).contiguous()


def leave_out(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Leave out up to 8 bands and 0.4 s of each sound (SpecAugment: Park et al. 2019, section 2).

    Args:
        x: (n, 64, frames); changed in place.
        rng: Of the bands and moments.
    """
    for row in x:
        bands, frames = row.shape
        band = int(rng.integers(0, bands - MASKED_BANDS))
        moment = int(rng.integers(0, frames - MASKED_FRAMES))
        row[band : band + int(rng.integers(0, MASKED_BANDS + 1))] = row.mean()
        row[:, moment : moment + int(rng.integers(0, MASKED_FRAMES + 1))] = row.mean()
    return x


def gain(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Make each sound of (n, 64, frames) a little louder or softer."""
    return x + torch.from_numpy(rng.normal(0, LOUDER, (len(x), 1, 1)).astype(np.float32))


def add_noise(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Add a hiss of random loudness to each sound of (n, 64, frames)."""
    level = 10 ** (rng.uniform(*NOISE_DB, (len(x), 1, 1)) / 10)
    hiss = rng.exponential(1.0, x.shape) * level  # the power of white noise in a band
    sounds = _power(x)
    mean = sounds.mean(dim=(1, 2), keepdim=True)
    return _log(sounds + torch.from_numpy(hiss.astype(np.float32)) * mean)


def blend(x: Tensor, others: Tensor, share: float | Tensor) -> Tensor:
    """Two sounds at once: ``share`` of the power, a number or (n, 1, 1), is the first one's."""
    return _log(share * _power(x) + (1 - share) * _power(others))


def colour(x: Tensor, most: float, rng: np.random.Generator) -> Tensor:
    """Give each sound of (n, 64, frames) another tone colour, by four smooth waves over the bands.

    Args:
        x: The sounds.
        most: Standard deviation of a wave's height, in log-mels; each sound has its own heights.
        rng: Of heights, and of the waves' places, which are one for all.
    """
    places = np.linspace(0, np.pi, x.shape[1])
    waves = np.cos(np.outer(np.arange(1, 5), places) + rng.uniform(0, 2 * np.pi, (4, 1)))
    heights = rng.normal(0, most, (len(x), 4))
    return x + torch.from_numpy((heights @ waves).astype(np.float32))[:, :, None]


def transpose(x: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    """Move each sound of (n, 64, frames) up or down by up to ``most`` bands."""
    bands = x.shape[1]
    moves = torch.from_numpy(rng.integers(-most, most + 1, len(x)))
    source = (torch.arange(bands)[None] - moves[:, None]).clamp(0, bands - 1)
    return x.gather(1, source[:, :, None].expand_as(x))


def _power(x: Tensor) -> Tensor:
    return (4 * x + 1).exp() - FLOOR


def _log(power: Tensor) -> Tensor:
    return ((power.clamp(min=0) + FLOOR).log() - 1) / 4
