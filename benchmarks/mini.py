"""How well and how fast the embedded model works, on data that it was not trained on.

Run: ``python benchmarks/mini.py [--data DIR]``; prints one table.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from machine import describe
from numpy.typing import NDArray
from PIL import Image

from mmsearch.encode import mini
from mmsearch.encode.base import Encoder
from mmsearch.metrics import first_relevant_ranks, hit_at_k
from mmsearch.records import FloatArray, Sound
from mmsearch.train.mini.data import Recording, flickr, kept_for_figures, recordings

TEXT, IMAGE, AUDIO = mini.load().encoders


def embed(encoder: Encoder, decoded: Sequence[Any]) -> FloatArray:
    """Embed samples in batches of the encoder's own size."""
    prepared = [encoder.prepare(sample) for sample in decoded]
    size = encoder.batch_size
    starts = range(0, len(prepared), size)
    return np.concatenate([encoder.encode(prepared[at : at + size]) for at in starts])


def read_picture(path: Path) -> Image.Image:
    """A picture as RGB."""
    with Image.open(path) as file:
        return file.convert("RGB")


def read_sound(path: Path) -> Sound:
    """A sound file as mono."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return Sound(samples.mean(axis=1), rate_hz)


def photos(data: Path) -> dict[str, str]:
    """Captions to photographs and back on the Flickr8k dev split."""
    album = flickr(data, "dev")
    images = embed(IMAGE, [read_picture(picture.path) for picture in album])
    texts = embed(TEXT, [text for picture in album for text in picture.texts])
    owner = np.repeat(np.arange(len(album)), [len(picture.texts) for picture in album])
    found = {}
    for name, scores, relevant in (
        ("text→image", texts @ images.T, [np.array([number]) for number in owner]),
        ("image→text", images @ texts.T, [np.flatnonzero(owner == n) for n in range(len(album))]),
    ):
        ranks = first_relevant_ranks(scores, relevant)
        hits = "/".join(f"{hit_at_k(ranks, k):.3f}" for k in (1, 5, 10))
        found[f"Flickr8k dev {name} hit_at_1/5/10"] = hits
    return found


def sounds(data: Path) -> dict[str, str]:
    """Labels of sounds by the nearest class name."""
    kept = [recording for recording in recordings(data) if kept_for_figures(recording)]
    found = {}
    for kind, name in (("esc10", "ESC-10 fold 4"), ("instruments", "instruments, notes D and G#")):
        chosen = [recording for recording in kept if recording.kind == kind]
        found[f"{name}, label accuracy"] = f"{label_accuracy(chosen):.3f} of {len(chosen)}"
    return found


def label_accuracy(chosen: Sequence[Recording]) -> float:
    """Share of sounds whose nearest class name is their own."""
    labels = sorted({recording.label for recording in chosen})
    names = embed(TEXT, labels)
    vectors = embed(AUDIO, [read_sound(recording.path) for recording in chosen])
    nearest = np.argmax(vectors @ names.T, axis=1)
    return float(np.mean([labels[at] == r.label for at, r in zip(nearest, chosen, strict=True)]))


def speed() -> dict[str, str]:
    """Samples a second through the towers, and the time of one warm text query."""
    rng = np.random.default_rng(0)
    squares: list[NDArray[np.uint8]] = list(rng.integers(0, 255, (256, 112, 112, 3), np.uint8))
    noise = Sound(rng.standard_normal(80_000).astype(np.float32), 16_000)
    mels = [AUDIO.prepare(noise)] * 128
    mel_s = best_s(lambda: AUDIO.prepare(noise))
    query_s = best_s(lambda: TEXT.encode([TEXT.prepare("two dogs playing on the grass")]), 200)
    return {
        "pictures a second (tower)": f"{rate(IMAGE, squares):.0f}",
        "5 s sounds a second (tower)": f"{rate(AUDIO, mels):.0f}",
        "5 s sounds a second (log-mel, one core)": f"{1 / mel_s:.0f}",
        "warm text query": f"{query_s * 1000:.2f} ms",
    }


def rate(encoder: Encoder, prepared: Sequence[Any]) -> float:
    """Samples a second in batches of the encoder's own size."""
    size = encoder.batch_size
    batch = list(prepared[:size])
    return size / best_s(lambda: encoder.encode(batch), 30)


def best_s(work: Any, times: int = 10) -> float:
    """The shortest time of several, after one that does not count."""
    work()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[2] / "shared/data"
    parser.add_argument("--data", type=Path, default=default)
    data = parser.parse_args().data
    rows = {**photos(data), **sounds(data), **speed(), "space SHA-256": TEXT.space.sha256}
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    print(describe())


if __name__ == "__main__":
    main()
