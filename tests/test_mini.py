"""The embedded model: floors on data it was not trained on, odd inputs, and what it imports."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmsearch.encode import mini
from mmsearch.encode.base import Encoder
from mmsearch.encode.compute import Compute
from mmsearch.encode.towers import Weights
from mmsearch.encode.towers.encoders import TableEncoder
from mmsearch.encode.towers.features import log_mel, pixels, resample
from mmsearch.errors import ModelError
from mmsearch.metrics import first_relevant_ranks, hit_at_k
from mmsearch.records import FloatArray, Sound

DATA = Path(os.environ.get("MMSEARCH_DATA", Path(__file__).parents[2] / "shared/data"))
TEXT, IMAGE, AUDIO = mini.load(Compute()).encoders
MAX_BYTES = 20_000_000


def embed(encoder: Encoder, *decoded: object) -> FloatArray:
    prepared, size = [encoder.prepare(sample) for sample in decoded], encoder.batch_size
    return np.concatenate(
        [encoder.encode(prepared[at : at + size]) for at in range(0, len(prepared), size)]
    )


def noise(seconds: float, rate_hz: int = 16_000, seed: int = 0) -> Sound:
    samples = np.random.default_rng(seed).standard_normal(max(1, int(seconds * rate_hz)))
    return Sound(0.1 * samples.astype(np.float32), rate_hz)


def picture(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize(size)


def test_one_space_for_three_modalities() -> None:
    model = mini.load(Compute())
    (space,) = model.spaces
    assert (space.name, space.dim, space.normalized) == ("mini-2", 256, True)
    assert [str(encoder.modality) for encoder in model.encoders] == ["text", "image", "audio"]
    assert len(space.sha256) == 64


def test_weights_fit_the_package() -> None:
    folder = Path(mini.__file__).parent
    assert sum(path.stat().st_size for path in folder.glob("mini-2.*")) <= MAX_BYTES


@pytest.mark.skipif(not (DATA / "flickr8k").exists(), reason=f"no flickr8k in {DATA}")
def test_captions_find_their_photos() -> None:
    lines = (DATA / "flickr8k/captions.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "dev"]
    images = embed(IMAGE, *(Image.open(DATA / "flickr8k" / row["image"]) for row in rows))
    texts = embed(TEXT, *(text for row in rows for text in row["captions"]))
    ranks = first_relevant_ranks(
        texts @ images.T, [np.array([at // 5]) for at in range(len(texts))]
    )
    assert len(rows) == 1000
    assert hit_at_k(ranks, 10) >= 0.35


@pytest.mark.skipif(not (DATA / "esc10").exists(), reason=f"no esc10 in {DATA}")
def test_class_names_find_their_sounds() -> None:
    paths = sorted((DATA / "esc10").glob("*/4-*"))
    labels = sorted({path.parent.name for path in paths})
    vectors = embed(AUDIO, *(Sound(*soundfile.read(path, dtype="float32")) for path in paths))
    names = embed(TEXT, *(label.replace("_", " ") for label in labels))
    nearest = np.argmax(vectors @ names.T, axis=1)
    own = np.array([labels.index(path.parent.name) for path in paths])
    assert len(paths) == 80
    assert np.mean(nearest == own) >= 0.85


def test_words_of_one_meaning_are_near() -> None:
    dog, puppy, rain = embed(TEXT, "dog", "puppy", "rain")
    assert dog @ puppy > dog @ rain + 0.2


@pytest.mark.parametrize("text", ["", " ", "\0", "🦊", "狗", "?!", "a" * 100_000, "the " * 20_000])
def test_any_text_gives_a_unit_vector(text: str) -> None:
    assert np.linalg.norm(embed(TEXT, text)) == pytest.approx(1, abs=1e-5)
    assert TEXT.fits(text)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (4000, 3), (112, 112), (640, 480)])
def test_any_picture_gives_a_unit_vector(size: tuple[int, int]) -> None:
    assert pixels(picture(0, size), 112).shape == (112, 112, 3)
    assert np.linalg.norm(embed(IMAGE, picture(0, size))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rate_hz", [4_000, 8_000, 16_000, 22_050, 44_101, 192_000])
@pytest.mark.parametrize("seconds", [0, 0.3, 10])
def test_any_sound_gives_a_unit_vector(seconds: float, rate_hz: int) -> None:
    assert np.linalg.norm(embed(AUDIO, noise(seconds, rate_hz))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("level", [0.0, 1e-30, 1.0, 1e30])
def test_any_loudness_gives_a_unit_vector(level: float) -> None:
    sound = Sound(np.full(8000, level, np.float32), 16_000)
    assert np.linalg.norm(embed(AUDIO, sound)) == pytest.approx(1, abs=1e-5)


def test_embeddings_do_not_depend_on_the_batch() -> None:
    texts = ["a dog", "", "two children on a beach", "rain"]
    pictures = [picture(seed) for seed in range(5)]
    sounds = [noise(seconds, seed=seed) for seed, seconds in enumerate((1, 5, 0.2, 5, 7.3))]
    for encoder, samples in ((TEXT, texts), (IMAGE, pictures), (AUDIO, sounds)):
        alone = np.concatenate([embed(encoder, sample) for sample in samples])
        np.testing.assert_allclose(embed(encoder, *samples), alone, atol=1e-5)
        assert alone.dtype == np.float32
        assert encoder.encode([]).shape == (0, 256)


def test_threads_share_an_encoder() -> None:
    expected = embed(IMAGE, picture(1))
    encoders = mini.load(Compute()).encoders
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: embed(encoders[1], picture(1)), range(8)):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_loudness_does_not_count() -> None:
    loud = noise(5)
    quiet = Sound(loud.samples * np.float32(0.05), loud.sample_rate_hz)
    assert (embed(AUDIO, loud) @ embed(AUDIO, quiet).T).item() > 0.999


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone(rate_hz: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(resample(tone, rate_hz), expected, atol=0.02)


def test_log_mel_sees_a_tone_in_one_band() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    mel = log_mel(tone)
    assert mel.shape == (64, 100)
    assert np.ptp(mel[:, 2:-2].argmax(axis=0)) == 0


def test_a_text_query_imports_no_torch() -> None:
    code = (
        "import sys; from mmsearch.encode import load_model; text = load_model('mini').encoders[0];"
        "text.encode([text.prepare('a dog')]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    weights = Weights(tmp_path / "gone.safetensors", "gone")
    encoder = TableEncoder(weights, Compute("cpu"))
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        encoder.prepare("a dog")
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        _ = encoder.space
