"""How well and how fast the embedded model works, on data that it was not trained on.

Run: ``python benchmarks/mini.py --models OUT/train [--data DIR]``; prints one table.

OUT is what ``python -m mmsearch.train.mini --out OUT`` has written: ``OUT/train/model1`` to
``model4`` hold the weights that have not seen the Flickr8k dev split, two notes of the instruments,
and one fold of ESC-10 each. Without ``--models`` the shipped weights are measured, which have seen
all of it: only their speed says anything.
"""

import argparse
import re
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from machine import describe
from numpy.typing import NDArray

from mmsearch.encode import Model, load_model
from mmsearch.encode.base import Encoder
from mmsearch.metrics import first_relevant_ranks, hit_at_k
from mmsearch.records import FloatArray, Modality, Sound
from mmsearch.train.mini.data import Picture, Recording, flickr, recordings
from mmsearch.train.mini.views import read

FOLDS = ("1", "2", "3", "4")
SYNONYMS = {
    "automobile": "car",
    "infant": "baby|babies",
    "puppy": "dog",
    "canine": "dog",
    "bicyclist": "bike",
    "seashore": "beach",
    "footballer": "football|soccer",
    "lady": "woman|women",
}
"""What is asked for, and the word that captions use."""


def encoder(model: Model, modality: Modality) -> Encoder:
    """The model's encoder of a modality."""
    return model.encoder(model.fields(modality)[0])


def embed(encoder: Encoder, decoded: Sequence[Any]) -> FloatArray:
    """Embed samples in batches of the encoder's own size."""
    prepared = [encoder.prepare(sample) for sample in decoded]
    size = encoder.batch_size
    starts = range(0, len(prepared), size)
    return np.concatenate([encoder.encode(prepared[at : at + size]) for at in starts])


def read_sound(path: Path) -> Sound:
    """A sound file as mono."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return Sound(samples.mean(axis=1), rate_hz)


def photos(model: Model, album: Sequence[Picture], learned: Sequence[Picture]) -> dict[str, str]:
    """Captions to photographs and back, paraphrases and synonyms, on the Flickr8k dev split."""
    pictures = [read(picture.path) for picture in album]
    images = embed(encoder(model, Modality.IMAGE), pictures)
    text = encoder(model, Modality.TEXT)
    texts = embed(text, [caption for picture in album for caption in picture.texts])
    owner = np.repeat(np.arange(len(album)), [len(picture.texts) for picture in album])
    found = {}
    for name, scores, relevant in (
        ("text→image", texts @ images.T, [np.array([number]) for number in owner]),
        ("image→text", images @ texts.T, [np.flatnonzero(owner == n) for n in range(len(album))]),
    ):
        ranks = first_relevant_ranks(scores, relevant)
        hits = "/".join(f"{hit_at_k(ranks, k):.3f}" for k in (1, 5, 10))
        found[f"Flickr8k dev {name} hit_at_1/5/10"] = hits
    found["two captions of a photo are closer than one and a random one"] = (
        f"{paraphrases(texts.reshape(len(album), -1, texts.shape[1])):.3f}"
    )
    for asked, said in SYNONYMS.items():
        query = embed(text, [f"a photo of a {asked}"])[0]
        first = [album[at] for at in np.argsort(-(images @ query))[:10]]
        used = sum(
            bool(re.search(rf"\b{asked}(s|es)?\b", t.lower())) for p in learned for t in p.texts
        )
        name = f"first 10 for “{asked}” ({used} training captions) whose captions say “{said}”"
        found[name] = str(sum(says(picture, said) for picture in first))
    return found


def says(picture: Picture, word: str) -> bool:
    """Whether any caption of a picture holds a word."""
    return any(re.search(rf"\b({word})(s|es)?\b", caption.lower()) for caption in picture.texts)


def paraphrases(texts: FloatArray, draws: int = 100_000) -> float:
    """How often a caption is closer to another of its photo than to a random one of another.

    Args:
        texts: (photos, captions, dim) float32, L2-normalised.
        draws: Random triples.
    """
    rng = np.random.default_rng(0)
    photos, captions, _ = texts.shape
    one, other = rng.integers(0, photos, draws), rng.integers(1, photos, draws)
    first, second = rng.integers(0, captions, draws), rng.integers(1, captions, draws)
    anchor = texts[one, first]
    twin = texts[one, (first + second) % captions]
    stranger = texts[(one + other) % photos, rng.integers(0, captions, draws)]
    closer = (anchor * twin).sum(axis=1) > (anchor * stranger).sum(axis=1)
    return float(closer.mean())


def sounds(models: Sequence[Model], data: Path) -> dict[str, str]:
    """Labels of sounds by the nearest class name.

    Args:
        models: One for each fold of ESC-10, which it has not heard.
        data: The folder of the data.
    """
    known = recordings(data)
    folds = [[r for r in known if r.kind == "esc10" and r.group == fold] for fold in FOLDS]
    shares = [label_accuracy(m, fold) for m, fold in zip(models, folds, strict=True)]
    notes = [r for r in known if r.kept]
    heard = [label_accuracy(model, notes) for model in models]
    return {
        "ESC-10, label accuracy, mean of four folds": f"{np.mean(shares):.3f}",
        "ESC-10, label accuracy, folds 1 to 4": " / ".join(f"{share:.3f}" for share in shares),
        f"instruments, notes D and G♯, label accuracy of {len(notes)}, mean of the models": (
            f"{np.mean(heard):.3f} ({' / '.join(f'{share:.3f}' for share in heard)})"
        ),
    }


def label_accuracy(model: Model, chosen: Sequence[Recording]) -> float:
    """Share of sounds whose nearest class name is their own."""
    labels = sorted({recording.label for recording in chosen})
    names = embed(encoder(model, Modality.TEXT), labels)
    heard = [read_sound(recording.path) for recording in chosen]
    vectors = embed(encoder(model, Modality.AUDIO), heard)
    nearest = np.argmax(vectors @ names.T, axis=1)
    return float(np.mean([labels[at] == r.label for at, r in zip(nearest, chosen, strict=True)]))


def speed(model: Model) -> dict[str, str]:
    """Samples a second through the towers, and the time of one warm text query."""
    text, image, audio = (
        encoder(model, m) for m in (Modality.TEXT, Modality.IMAGE, Modality.AUDIO)
    )
    rng = np.random.default_rng(0)
    squares: list[NDArray[np.uint8]] = list(rng.integers(0, 255, (256, 112, 112, 3), np.uint8))
    noise = Sound(rng.standard_normal(80_000).astype(np.float32), 16_000)
    mels = [audio.prepare(noise)] * 128
    mel_s = best_s(lambda: audio.prepare(noise))
    query_s = best_s(lambda: text.encode([text.prepare("two dogs playing on the grass")]), 200)
    return {
        "pictures a second (tower)": f"{rate(image, squares):.0f}",
        "5 s sounds a second (tower)": f"{rate(audio, mels):.0f}",
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
    parser.add_argument("--models", type=Path, help="folder of model1 to model4")
    default = Path(__file__).parents[2] / "shared/data"
    parser.add_argument("--data", type=Path, default=default)
    arguments = parser.parse_args()
    rows: dict[str, str] = {}
    if arguments.models is None:
        model = load_model("mini")
    elif not arguments.data.is_dir():
        parser.error(f"{arguments.data}: the data is not here; name its folder with --data")
    else:
        homes = [arguments.models / f"model{fold}" for fold in FOLDS]
        models = [load_model(str(home)) for home in homes]
        model = models[-1]
        learned = flickr(arguments.data, "train")
        rows |= photos(model, flickr(arguments.data, "dev"), learned)
        rows |= sounds(models, arguments.data)
        for home in homes:
            digest = sha256((home / "weights.safetensors").read_bytes()).hexdigest()
            rows[f"SHA-256 of {home.name}"] = digest
    rows |= speed(model)
    rows["SHA-256 of the space"] = model.spaces[0].sha256
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    print(describe())


if __name__ == "__main__":
    main()
