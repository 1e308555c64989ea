"""The EmbeddingGemma 2 adapter against sentence-transformers, on small random checkpoints."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_checkpoints import embed, pictures, sounds
from tiny_gemma import DIM, write_gemma

import mmsearch
from mmsearch.encode import AskingEncoder, MappingEncoder, asking, load_model
from mmsearch.encode.resampling import resample
from mmsearch.encode.seeing import WHOLE
from mmsearch.errors import ModelError, UsageError
from mmsearch.metrics import first_relevant_ranks, hit_at_k
from mmsearch.records import FloatArray, Modality, Sound

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["a dog", "rain on a tin roof, far away and at night", "x"]
MARKED = "a picture <|image|> and a sound <|audio|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gemma(tmp_path_factory.mktemp("gemma") / "tiny", {}, {})


def library(folder: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def library_sounds(model: Any) -> FloatArray:
    """One by one: in a batch the library's padding is heard."""
    waves = [resample(sound, 16_000) for sound in sounds()]
    rows = [model.encode([{"audio": {"array": w, "sampling_rate": 16_000}}]) for w in waves]
    return np.concatenate(rows)


def test_embeds_as_the_library_does(folder: Path) -> None:
    text, image, audio = load_model(f"gemma:{folder}").encoders
    model = library(folder)
    documents = model.encode(TEXTS, prompt_name="Document")
    np.testing.assert_allclose(embed(text, TEXTS), documents, atol=1e-5)
    assert isinstance(text, AskingEncoder)
    asked = text.encode([text.prepare_query(one) for one in TEXTS])
    np.testing.assert_allclose(asked, model.encode(TEXTS, prompt_name="SearchQuery"), atol=1e-5)
    assert np.abs(asked - documents).max() > 0.01
    alone = np.concatenate([model.encode([picture]) for picture in pictures()])
    np.testing.assert_allclose(embed(image, pictures()), alone, atol=1e-5)
    np.testing.assert_allclose(embed(audio, sounds()), library_sounds(model), atol=1e-5)
    assert text.space == image.space == audio.space
    assert (text.space.dim, text.space.normalized) == (DIM, True)
    assert not isinstance(image, AskingEncoder)


@pytest.mark.parametrize(
    "change",
    [
        ({"do_rescale": False}, {}),
        ({"resample": 0}, {}),
        ({"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {}),
        ({}, {"mel_floor": 0.1}),
        ({}, {"max_frequency": 4000.0}),
        ({}, {"per_bin_mean": [0.5] * 128}),
    ],
    ids=["rescale", "resample", "mean and std", "floor", "highest band", "mean of bands"],
)
def test_other_preprocessing_is_another_space(
    folder: Path, tmp_path: Path, change: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    other = write_gemma(tmp_path / "other", *change)
    text, image, audio = load_model(f"gemma:{other}").encoders
    before = load_model(f"gemma:{folder}").encoders
    assert text.space.sha256 != before[0].space.sha256
    inputs: list[Any] = pictures() if change[0] else sounds()
    changed, same = (image, audio) if change[0] else (audio, image)
    old = before[1] if change[0] else before[2]
    assert np.abs(embed(changed, inputs) - embed(old, inputs)).max() > 1e-3
    model = library(other)
    alone = np.concatenate([model.encode([picture]) for picture in pictures()])
    np.testing.assert_allclose(embed(image, pictures()), alone, atol=1e-5)
    np.testing.assert_allclose(embed(audio, sounds()), library_sounds(model), atol=1e-5)
    assert same.space == changed.space


def test_a_sound_is_heard_whole_or_refused(folder: Path) -> None:
    audio = load_model(f"gemma:{folder}").encoders[2]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=30 * 16_000).astype(np.float32)
    assert len(audio.prepare(Sound(noise, 16_000))["input_features"]) == 2999
    with pytest.raises(UsageError, match="30.001 s: give at most 30 s"):
        audio.prepare(Sound(np.append(noise, np.zeros(16, np.float32)), 16_000))
    assert audio.limits.window_s == 30
    for length in (1, 100, 161, 1599):
        short = audio.encode([audio.prepare(Sound(noise[:length], 16_000))])
        assert np.isfinite(short).all()
    one, two = (audio.prepare(Sound(noise[at : at + 160], 16_000)) for at in (0, 160))
    assert np.abs(audio.encode([one]) - audio.encode([two])).max() > 1e-4


def test_marks_in_a_text_are_no_pictures(folder: Path) -> None:
    text = load_model(f"gemma:{folder}").encoders[0]
    assert np.isfinite(text.encode([text.prepare(MARKED)])).all()


def test_an_index_finds_with_the_query_prompt(folder: Path, tmp_path: Path) -> None:
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number}.png")
    for number, words in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(words)
    model = load_model(f"gemma:{folder}")
    text, image, _ = model.encoders
    assert isinstance(text, AskingEncoder)
    with mmsearch.create(tmp_path / "index", model=f"gemma:{folder}") as index:
        index.add([*tmp_path.glob("*.png"), *tmp_path.glob("*.txt")])
        hits = index.search("a cat", target="image", k=3)
        found = index.search("a cat", target="text", k=3)
    asked = text.encode([text.prepare_query("a cat")])[0]
    cosines = embed(image, pictures()) @ asked
    got = {hit.item.path.stem: hit.signals["cosine"] for hit in hits}
    assert got == pytest.approx({str(n): c for n, c in enumerate(cosines)}, abs=2e-3)
    cosines = embed(text, TEXTS) @ asked
    got = {hit.item.path.stem: hit.signals["cosine"] for hit in found}
    assert got == pytest.approx({str(n): c for n, c in enumerate(cosines)}, abs=2e-3)


def test_eval_asks_with_the_query_prompt(folder: Path, tmp_path: Path) -> None:
    model = load_model(f"gemma:{folder}")
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number}.png")
    rows = [{"image": f"{n}.png", "text": words} for n, words in enumerate(TEXTS)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    forth, back = mmsearch.evaluate_model(tmp_path / "pairs.jsonl", model=model)
    text, image, _ = model.encoders
    assert isinstance(text, AskingEncoder)
    asked = text.encode([text.prepare_query(words) for words in TEXTS])
    seen, found = embed(image, pictures()), embed(text, TEXTS)
    relevant = [np.array([number]) for number in range(3)]
    assert forth.hit_at_1 == hit_at_k(first_relevant_ranks(asked @ seen.T, relevant), 1)
    assert back.hit_at_1 == hit_at_k(first_relevant_ranks(seen @ found.T, relevant), 1)
    (queries, documents) = (asking(model).encoders[0], model.encoders[0])
    assert (embed(queries, TEXTS) == asked).all()
    assert (embed(documents, TEXTS) == found).all()


def test_what_is_no_checkpoint_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    short = Path(shutil.copytree(folder, tmp_path / "short"))
    (short / "config_sentence_transformers.json").unlink()
    encoder = load_model(f"gemma:{short}").encoders[0]
    with pytest.raises(ModelError, match="no EmbeddingGemma 2 checkpoint: it has no config_sent"):
        encoder.prepare("a dog")
    (short / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {}}))
    with pytest.raises(ModelError, match="cannot use .*SearchQuery"):
        encoder.prepare("a dog")
    with pytest.raises(ModelError, match="^gemma:nothing: give a folder, or OWNER/NAME"):
        load_model("gemma:nothing")
    modalities = [encoder.modality for encoder in load_model(f"gemma:{folder}").encoders]
    assert modalities == [Modality.TEXT, Modality.IMAGE, Modality.AUDIO]


def test_a_text_fits_up_to_8192_tokens(folder: Path) -> None:
    """Of which some are the prompt and the two ends; as the model card says."""
    text = load_model(f"gemma:{folder}").encoders[0]
    around = len(text.prepare("x")["input_ids"]) - 1
    assert around == 2 + len("title: none | text: ")
    assert text.fits("x" * (8192 - around))
    assert not text.fits("x" * (8193 - around))
    assert text.limits.text_chars == 4 * 512


def test_a_picture_has_a_vector_for_each_of_its_places(folder: Path) -> None:
    """Their mean, and that of the four marks around them, is the embedding."""
    image = load_model(f"gemma:{folder}").encoders[1]
    assert isinstance(image, MappingEncoder)
    prepared = [image.prepare(one) for one in pictures()]
    found, whole = image.maps(prepared), image.encode(prepared)
    for picture, places, vector in zip(pictures(), found, whole, strict=True):
        rows, columns, dim = places.shape
        assert (dim, rows * columns <= 70) == (DIM, True)
        assert columns / rows == pytest.approx(picture.width / picture.height, rel=0.2)
        np.testing.assert_allclose(np.linalg.norm(places, axis=2), 1, atol=1e-5)
        mean = places.mean(axis=(0, 1))
        assert mean @ vector / np.linalg.norm(mean) > 0.99
    (alone,) = image.maps(prepared[1:2])
    np.testing.assert_allclose(alone, found[1], atol=1e-5)
    assert image.seen((40, 100)) == WHOLE
