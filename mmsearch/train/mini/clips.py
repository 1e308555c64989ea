"""Five-second training clips: recordings changed and mixed, each with YAMNet's scores for it.

Written in numbered files, so that a killed run continues where it stopped.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from mmsearch.encode.mini.features import MELS, RATE_HZ, level, log_mel, resample
from mmsearch.records import FloatArray
from mmsearch.train.data import Recording
from mmsearch.train.files import save_arrays
from mmsearch.train.synth import SYNTHETIC, synthesise
from mmsearch.train.teachers import SoundTeacher

log = logging.getLogger(__name__)

SECONDS = 5
SAMPLES = SECONDS * RATE_HZ
CHUNK = 250
MIXED = 0.35
SYNTHESISED = 0.08


@dataclass(frozen=True)
class Clips:
    """Clips, what is in them, and what the teacher hears.

    Attributes:
        mels: (n, 64, 500) float16.
        labels: (n, labels) float32, the share of each label; rows sum to 1.
        teacher: (n, 521) float32, YAMNet's scores.
    """

    mels: NDArray[np.float16]
    labels: FloatArray
    teacher: FloatArray


def label_names(recordings: Sequence[Recording]) -> list[str]:
    """Every label: those of the recordings and those of synthesised sounds."""
    return sorted({recording.label for recording in recordings}) + list(SYNTHETIC)


def read(path: Path) -> FloatArray:
    """A sound file as mono at 16 kHz: (n,) float32."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(samples.mean(axis=1), rate_hz)


def change(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Another speed and pitch, start, tone colour and amount of noise: (80000,) float32."""
    speed_hz = int(RATE_HZ * np.exp(rng.uniform(-0.2, 0.2))) // 100 * 100
    fast = resample(samples, speed_hz)
    looped = np.resize(np.roll(fast, -int(rng.integers(len(fast)))), SAMPLES)
    spectrum = np.fft.rfft(looped)
    position = np.linspace(0, 1, len(spectrum))
    waves = np.cos(np.outer(np.arange(1, 4), np.pi * position) + rng.uniform(0, 6, (3, 1)))
    spectrum *= 10 ** (rng.normal(0, 0.25, 3) @ waves)
    coloured = level(np.fft.irfft(spectrum, SAMPLES).astype(np.float32))
    noise = rng.standard_normal(SAMPLES) * 10 ** rng.uniform(-3.0, -1.0)
    return np.asarray(coloured + noise, np.float32)


def make_clip(
    sounds: Sequence[FloatArray],
    labels: Sequence[str],
    names: Sequence[str],
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """One clip and the share of each label in it: (80000,) and (labels,) float32."""
    shares = np.zeros(len(names), np.float32)
    clip = np.zeros(SAMPLES, np.float32)
    count = 2 if rng.random() < MIXED else 1
    for share in rng.dirichlet([4.0] * count):
        if rng.random() < SYNTHESISED:
            label = str(rng.choice(list(SYNTHETIC)))
            sound = synthesise(label, SECONDS, rng)
        else:
            # every label is as likely, however many recordings it has
            label = str(rng.choice(sorted(set(labels))))
            members = [number for number, other in enumerate(labels) if other == label]
            sound = sounds[int(rng.choice(members))]
        clip += np.sqrt(share) * change(sound, rng)
        shares[names.index(label)] += share
    return level(clip), shares


def make_chunk(
    first: int,
    recordings: Sequence[Recording],
    names: Sequence[str],
    data: Path,
    out: Path,
    seed: int,
) -> None:
    """Make, describe and write one file of clips."""
    teacher = SoundTeacher(data / "teachers")
    sounds = [read(recording.path) for recording in recordings]
    labels = [recording.label for recording in recordings]
    rng = np.random.default_rng([seed, 7, first])
    made = [make_clip(sounds, labels, names, rng) for _ in range(CHUNK)]
    save_arrays(
        out / f"{first:06d}.npz",
        mels=np.stack([log_mel(clip) for clip, _ in made]).astype(np.float16),
        labels=np.stack([shares for _, shares in made]),
        teacher=np.stack([teacher(clip / np.abs(clip).max()) for clip, _ in made]),
    )


def make_clips(
    count: int, recordings: Sequence[Recording], data: Path, out: Path, seed: int, workers: int = 2
) -> None:
    """Make the clips that have no file yet."""
    out.mkdir(parents=True, exist_ok=True)
    starts = range(0, count, CHUNK)
    missing = [first for first in starts if not (out / f"{first:06d}.npz").exists()]
    work = partial(
        make_chunk,
        recordings=recordings,
        names=label_names(recordings),
        data=data,
        out=out,
        seed=seed,
    )
    with get_context("spawn").Pool(workers) as pool:
        for done, _ in enumerate(pool.imap(work, missing), 1):
            log.info("clips: %d of %d chunks", len(starts) - len(missing) + done, len(starts))


def load_clips(out: Path) -> Clips:
    """Read every clip made so far."""
    parts = [dict(np.load(path, allow_pickle=False)) for path in sorted(out.glob("*.npz"))]
    mels = np.concatenate([part["mels"] for part in parts])
    assert mels.shape[1] == MELS
    return Clips(
        mels=mels,
        labels=np.concatenate([part["labels"] for part in parts]),
        teacher=np.concatenate([part["teacher"] for part in parts]),
    )
