"""Five-second training clips: recordings changed and mixed, each with what YAMNet hears in it.

Clips are made in groups, one for each fold of ESC-10, and none of its recordings is in two of them:
what is trained without a group has not heard that fold. Written in numbered files, so that a killed
run continues where it stopped.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from mmsearch.encode.towers.features import RATE_HZ, level, log_mel, resample
from mmsearch.records import FloatArray
from mmsearch.train.files import save_arrays
from mmsearch.train.mini.data import KEPT, Recording
from mmsearch.train.mini.speak import SPOKEN, speak
from mmsearch.train.mini.synth import SYNTHETIC, synthesise
from mmsearch.train.mini.teachers import SoundTeacher

log = logging.getLogger(__name__)

SECONDS = 5
SAMPLES = SECONDS * RATE_HZ
CHUNK = 250
CHUNKS = 5
"""Files of each group."""
MIXED = 0.35
SYNTHESISED, SPEECH = 0.08, 0.12
"""Shares of what the project makes itself."""


@dataclass(frozen=True)
class Clips:
    """Clips, what is in them, and what the teacher hears.

    Attributes:
        mels: (n, 64, 500) float16.
        labels: (n, labels) float32, the share of each label; rows sum to 1.
        scores: (n, 521) float32, YAMNet's.
        features: (n, 1024) float32, YAMNet's.
    """

    mels: NDArray[np.float16]
    labels: FloatArray
    scores: FloatArray
    features: FloatArray


def label_names(recordings: Sequence[Recording]) -> list[str]:
    """Every label: those of the recordings and of what the project makes."""
    return sorted({recording.label for recording in recordings}) + [*SYNTHETIC, *SPOKEN]


def groups(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    """The recordings of each group: a fold of ESC-10, with all notes of the instruments.

    Notes that are kept for figures of the instruments are a group of their own.
    """
    folds = sorted({r.group for r in recordings if r.kind == "esc10"})
    found: dict[str, list[Recording]] = {name: [] for name in (*folds, KEPT)}
    notes = [r for r in recordings if r.kind == "instruments"]
    for recording in recordings:
        if recording.kind == "esc10":
            found[recording.group].append(recording)
    for fold in folds:
        found[fold] += [note for note in notes if not note.kept]
    found[KEPT] = [note for note in notes if note.kept]
    return found


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
    sounds: Mapping[str, Sequence[FloatArray]], names: Sequence[str], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """One clip and the share of each label in it: (80000,) and (labels,) float32.

    Args:
        sounds: Recordings by label; every label is as likely, however many it has.
        names: All labels.
        rng: Of every choice.
    """
    shares = np.zeros(len(names), np.float32)
    clip = np.zeros(SAMPLES, np.float32)
    count = 2 if rng.random() < MIXED else 1
    for share in rng.dirichlet([4.0] * count):
        label, sound = draw_sound(sounds, rng)
        clip += np.sqrt(share) * change(sound, rng)
        shares[names.index(label)] += share
    return level(clip), shares


def draw_sound(
    sounds: Mapping[str, Sequence[FloatArray]], rng: np.random.Generator
) -> tuple[str, FloatArray]:
    """One sound and its label: a recording, or something that the project makes."""
    lot = rng.random()
    if lot < SYNTHESISED:
        label = str(rng.choice(list(SYNTHETIC)))
        return label, synthesise(label, SECONDS, rng)
    if lot < SYNTHESISED + SPEECH:
        label = str(rng.choice(SPOKEN))
        return label, speak(label, rng)
    label = str(rng.choice(sorted(sounds)))
    return label, sounds[label][int(rng.integers(len(sounds[label])))]


def make_chunk(
    number: int,
    group: str,
    recordings: Sequence[Recording],
    names: Sequence[str],
    data: Path,
    out: Path,
    seed: int,
) -> None:
    """Make, describe and write one file of clips."""
    teacher = SoundTeacher(data / "teachers")
    sounds: dict[str, list[FloatArray]] = {}
    for recording in recordings:
        sounds.setdefault(recording.label, []).append(read(recording.path))
    rng = np.random.default_rng([seed, 7, number, *group.encode()])
    made = [make_clip(sounds, names, rng) for _ in range(CHUNK)]
    heard = [teacher(clip / np.abs(clip).max()) for clip, _ in made]
    save_arrays(
        out / f"{group}-{number:02d}.npz",
        mels=np.stack([log_mel(clip) for clip, _ in made]).astype(np.float16),
        labels=np.stack([shares for _, shares in made]),
        scores=np.stack([scores for scores, _ in heard]),
        features=np.stack([features for _, features in heard]),
    )


def make_clips(
    recordings: Sequence[Recording],
    wanted: Sequence[str],
    data: Path,
    out: Path,
    seed: int,
    workers: int,
) -> Clips:
    """Make the clips of some groups that have no file yet, and read them all."""
    out.mkdir(parents=True, exist_ok=True)
    members, names = groups(recordings), label_names(recordings)
    with get_context("spawn").Pool(workers) as pool:
        for group in wanted:
            numbers = [n for n in range(CHUNKS) if not (out / f"{group}-{n:02d}.npz").exists()]
            work = partial(
                make_chunk,
                group=group,
                recordings=members[group],
                names=names,
                data=data,
                out=out,
                seed=seed,
            )
            for done, _ in enumerate(pool.imap(work, numbers), 1):
                log.info("clips: group %s, %d of %d files", group, done, len(numbers))
    return load_clips(out, wanted)


def load_clips(out: Path, wanted: Sequence[str]) -> Clips:
    """Read every clip of some groups."""
    paths = [path for group in wanted for path in sorted(out.glob(f"{group}-*.npz"))]
    parts = [dict(np.load(path, allow_pickle=False)) for path in paths]
    names = [field.name for field in fields(Clips)]
    return Clips(**{name: np.concatenate([part[name] for part in parts]) for name in names})
