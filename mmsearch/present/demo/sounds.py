"""Sounds made with NumPy, five seconds each, that sound like what their names say."""

from collections.abc import Callable

import numpy as np

from mmsearch.present.demo.synth import (
    SAMPLE_RATE_HZ,
    add,
    echo,
    fade,
    noise,
    ramp,
    ring,
    silence,
    smooth_random,
    sweep,
    time_s,
    voice,
)
from mmsearch.records import FloatArray, Sound

_SECONDS = 5.0
_BELL = (
    (0.5, 1.0, 2.8),
    (1.0, 1.0, 1.7),
    (1.183, 0.8, 1.3),
    (1.506, 0.5, 1.0),
    (2.0, 1.0, 0.9),
    (2.514, 0.5, 0.55),
    (2.662, 0.4, 0.5),
    (3.011, 0.5, 0.4),
    (4.166, 0.6, 0.3),
    (5.433, 0.43, 0.18),
    (6.796, 0.34, 0.1),
    (8.2, 0.34, 0.08),
)
"""Partials of a cast bell: frequency over the prime's, level, half-life in seconds."""


def make_sound(name: str, take: int = 0) -> Sound:
    """One of the ``NAMES``; the same samples on every call, others for another take."""
    seed = [take, *name.encode()]
    made = _MAKERS[name](np.random.default_rng(seed))
    return Sound((0.7 / np.max(np.abs(made)) * made).astype(np.float32), SAMPLE_RATE_HZ)


def _rain(random: np.random.Generator) -> FloatArray:
    """A steady hiss, and many drops that each ring for some milliseconds."""
    drops = silence(_SECONDS)
    for start_s in random.uniform(0, _SECONDS, 1_500):
        drop = ring(random.uniform(1_500, 7_000), 0.02, random.uniform(0.001, 0.004))
        add(drops, start_s, random.exponential(0.7) * drop)
    return noise(random, _SECONDS, 900, 7_000, 1) + drops


def _sea_waves(random: np.random.Generator) -> FloatArray:
    """Noise that swells, breaks and draws back: brighter when louder."""
    swell = np.clip(np.sin(2 * np.pi * time_s(_SECONDS) / 4.2 - 0.9), 0, None) ** 1.5
    rumble = (0.3 + swell) * noise(random, _SECONDS, 40, 500)
    foam = (0.05 + 1.2 * swell**2) * noise(random, _SECONDS, 400, 5_000, 1)
    return np.asarray(rumble + foam, np.float32)


def _thunder(random: np.random.Generator) -> FloatArray:
    """Claps that roll over each other, ever lower, in a light rain."""
    out = 0.05 * noise(random, _SECONDS, 30, 300, 1) + 0.058 * noise(
        random, _SECONDS, 900, 7_000, 1
    )
    s = ramp(1.2)
    for start_s in np.sort(random.uniform(0, 4, 20)):
        clap = noise(random, 1.2, 19, 60 + 368 * np.exp(-0.27 * start_s))
        loud = random.uniform(0.2, 1) * np.exp(-0.085 * start_s)
        add(out, start_s, loud * clap * np.minimum(s / 0.005, 1) * np.exp(-3.1 * s))
    return out


def _fire(random: np.random.Generator) -> FloatArray:
    """A low breath of flames under sharp crackles of every size."""
    breath = noise(random, _SECONDS, 60, 700, 1) * (0.6 + smooth_random(random, _SECONDS, 3))
    crackles = silence(_SECONDS)
    for start_s in random.uniform(0, _SECONDS, 190):
        snap = noise(random, 0.012, 800, 9_000, 1) * fade(0.012, random.uniform(0.0006, 0.002))
        add(crackles, start_s, random.pareto(1.6) * snap)
    return np.asarray(0.12 * breath + np.clip(crackles, -8, 8), np.float32)


def _dog(random: np.random.Generator) -> FloatArray:
    """Barks in twos: a rough voice whose pitch jumps up and falls, shaped by a mouth."""
    out = 0.0016 * noise(random, _SECONDS, 60, 3_000, 1)
    for start_s in (0.15, 0.62, 1.7, 2.15, 3.3, 3.8):
        s = ramp(0.25)
        rough = 1 + 0.22 * smooth_random(random, 0.25, 340)
        pitch = 416 * random.uniform(0.95, 1.05) * (0.3 + 0.7 * np.sin(np.pi * s**0.92)) * rough
        bark = voice(pitch, 900, 1_360, 2_260)
        bark = np.tanh(1.2 * bark / np.max(np.abs(bark)))
        add(out, start_s, bark * s**0.32 * (1 - s) ** 1.9)
    return echo(out, 0.1, 0.24)


def _rooster(random: np.random.Generator) -> FloatArray:
    """Cock-a-doodle-doo, twice: three short notes and a long one, strained and hoarse."""
    out = 0.0055 * noise(random, _SECONDS, 100, 4_000, 1)
    notes = ((0.0, 0.2, 0.62, 0.8), (0.3, 0.16, 0.75, 0.82), (0.56, 0.3, 0.85, 1.0))
    for start_s, seconds, low, high in (*notes, (0.92, 1.2, 1.1, 1.0)):
        s = ramp(seconds)
        pitch = 749 * (low + (high - low) * s**1.5 + 0.13 * np.sin(np.pi * s))
        crow = voice(pitch * (1 + 0.08 * smooth_random(random, seconds, 51)), 1_390, 2_170, 3_750)
        crow = np.tanh(5.9 * crow / np.max(np.abs(crow)))
        crow = crow + 0.1 * noise(random, seconds, 800, 5_000, 1)
        for crow_s in (0.2, 2.7):
            add(out, crow_s + start_s, crow * np.sin(np.pi * s) ** 0.2)
    return echo(out, 0.08, 0.21)


def _bird(random: np.random.Generator) -> FloatArray:
    """A songbird: quick sweeps in phrases, high and pure."""
    out = 0.004 * noise(random, _SECONDS, 200, 3_000)
    for phrase_s in (0.2, 1.5, 2.6, 3.9):
        low, high = random.uniform(2_600, 3_400), random.uniform(4_200, 5_800)
        for note in range(random.integers(4, 9)):
            s = ramp(0.075)
            chirp = sweep(low + (high - low) * np.sin(np.pi * s) ** 2) * np.hanning(len(s))
            add(out, phrase_s + 0.105 * note, chirp)
    return echo(out, 0.13, 0.15)


def _clock(random: np.random.Generator) -> FloatArray:
    """Tick and tock of a small clock: three light knocks a second."""
    out = 0.0054 * noise(random, _SECONDS, 100, 4_000)
    for beat in range(15):
        tone = 2_410 if beat % 2 else 2_440
        knock = ring(tone, 0.08, 0.0048) + ring(2.31 * tone, 0.08, 0.0029)
        knock += 0.36 * ring(0.31 * tone, 0.08, 0.0072)
        click = noise(random, 0.08, 3_470, 9_000, 1) * fade(0.08, 0.0007)
        add(out, 0.2 + beat / 3.1, 0.1 * knock + 0.19 * click)
    return out


def _helicopter(random: np.random.Generator) -> FloatArray:
    """Blades that beat the air fourteen times a second over the whine of a turbine."""
    t = time_s(_SECONDS)
    turn = 13.86 * t % 1.0
    beat = 0.05 + 0.95 * np.exp(-2.1 * turn) * np.minimum(turn / 0.36, 1)
    air = noise(random, _SECONDS, 20, 200, 1) + 0.16 * np.sin(2 * np.pi * 27.7 * t)
    turbine = 0.14 * voice(np.full(len(t), 872.0), 1_800)
    return np.asarray(
        beat * air + turbine + 0.09 * noise(random, _SECONDS, 100, 4_640, 1), np.float32
    )


def _chainsaw(random: np.random.Generator) -> FloatArray:
    """A two-stroke engine that revs up, cuts and drops back: a buzz full of harmonics."""
    t = time_s(_SECONDS)
    revs = 95 + 45 * np.clip(np.sin(2 * np.pi * t / 2.4), -0.3, 1)
    buzz = voice(revs * (1 + 0.03 * random.standard_normal(len(t))), 900, 2_800)
    rasp = np.abs(sweep(revs / 2)) * noise(random, _SECONDS, 700, 6_000, 1)
    return np.asarray(np.tanh(1.5 * buzz + 0.5 * rasp), np.float32)


def _bell(random: np.random.Generator) -> FloatArray:
    """A large bell: hum, prime, tierce, quint and nominal, each fading at its own pace."""
    out = 0.038 * noise(random, _SECONDS, 50, 2_000, 1)
    for start_s in (0.1, 1.13, 2.15, 3.18, 4.2):
        add(out, start_s, 0.54 * noise(random, 0.1, 1_500, 9_000, 1) * fade(0.1, 0.01))
        for ratio, level, half_life_s in _BELL:
            tone = 462 * ratio * (1 + random.uniform(-0.0015, 0.0015))
            seconds = min(_SECONDS - start_s, 12 * half_life_s)
            # Two nearly equal tones beat against each other, as a cast bell's do.
            for detuned, loud in ((tone, level), (1.0037 * tone, 0.5 * level)):
                add(out, start_s, loud * ring(detuned, seconds, half_life_s))
    return echo(out, 0.17, 0.09)


def _siren(random: np.random.Generator) -> FloatArray:
    """An ambulance that wails: up and down once in two and a half seconds."""
    wail = voice(900 + 450 * np.sin(2 * np.pi * time_s(_SECONDS) / 2.5 - 1.2), 1_200, 2_400)
    street = 0.05 * noise(random, _SECONDS, 40, 800, 1)
    return echo(np.tanh(2 * wail), 0.11, 0.3) + street


def _rocket(random: np.random.Generator) -> FloatArray:
    """A launch: a roar that grows, torn by the crackle of its own shock waves."""
    roar = noise(random, _SECONDS, 20, 1_500, 1) + 0.8 * noise(random, _SECONDS, 300, 5_000, 1)
    torn = 0.05 + smooth_random(random, _SECONDS, 109) ** 3.3
    return np.asarray(roar * torn * np.minimum(0.2 + ramp(_SECONDS), 0.7), np.float32)


def _telephone(random: np.random.Generator) -> FloatArray:
    """An old telephone: a clapper between two small bells, rings and pauses."""
    out = silence(_SECONDS)
    for start_s in (0.1, 2.6):
        for stroke in range(34):
            tone = (1_480, 1_870)[stroke % 2] * random.uniform(0.999, 1.001)
            struck = ring(tone, 0.4, 0.07) + 0.6 * ring(2.76 * tone, 0.4, 0.035)
            add(out, start_s + stroke / 22, struck + 0.3 * ring(5.4 * tone, 0.4, 0.014))
    return out


def _heartbeat(random: np.random.Generator) -> FloatArray:
    """Lub-dub at seventy beats a minute, heard through a chest."""
    out = 0.004 * noise(random, _SECONDS, 20, 200)
    for beat in range(6):
        for delay_s, tone, loud in ((0.0, 48, 1.0), (0.32, 66, 0.7)):
            s = ramp(0.14)
            thump = sweep(tone * (1.5 - 0.5 * s)) * np.hanning(len(s))
            add(out, 0.1 + 0.86 * beat + delay_s, loud * thump)
    return out


_MAKERS: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "rain": _rain,
    "sea waves": _sea_waves,
    "thunder": _thunder,
    "crackling fire": _fire,
    "barking dog": _dog,
    "rooster": _rooster,
    "bird song": _bird,
    "ticking clock": _clock,
    "helicopter": _helicopter,
    "chainsaw": _chainsaw,
    "temple bell": _bell,
    "siren": _siren,
    "telephone": _telephone,
    "heartbeat": _heartbeat,
    "rocket launch": _rocket,
}
NAMES = tuple(_MAKERS)
