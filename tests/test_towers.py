"""Models of compact towers: what a weights file says of itself, and embeddings of every kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from mmsearch.encode import LocalEncoder, Model, towers
from mmsearch.encode.compute import Compute
from mmsearch.encode.towers.networks import build
from mmsearch.encode.towers.shapes import (
    Design,
    ImageTower,
    SoundFeatures,
    Table,
    TextTower,
    TowerShape,
)
from mmsearch.encode.towers.words import mean, pad
from mmsearch.errors import ModelError
from mmsearch.records import Modality, Sound
from mmsearch.train.towers import Options
from mmsearch.train.towers.export import export
from mmsearch.train.towers.words import TokenTable, train_vocabulary

TEXTS = ["a red square", "", "a blue circle on a red square", "square " * 100]


def make(folder: Path, text: TextTower, image: ImageTower, sound: SoundFeatures) -> Model:
    """An untrained model, written and loaded."""
    torch.manual_seed(0)
    tokenizer = train_vocabulary(TEXTS)
    options = Options(image_tower=image, text_tower=text, sound=sound, width=8, side=32, dim=16)
    size = tokenizer.get_vocab_size()
    design = options.design(list(Modality), size)
    trained = {
        modality: TokenTable(torch.randn(size, 16))
        if isinstance(shape, Table)
        else build(design, modality).eval()
        for modality, shape in design.towers.items()
    }
    export(folder / towers.WEIGHTS, design, trained, tokenizer)
    return towers.load(folder, Compute("cpu"))


@pytest.mark.parametrize("text", TextTower)
@pytest.mark.parametrize("image", ImageTower)
def test_a_design_survives_its_file(text: TextTower, image: ImageTower) -> None:
    shapes: dict[Modality, TowerShape] = dict(
        Options(image_tower=image, text_tower=text).design(list(Modality), 100).towers
    )
    design = Design("x", 8, shapes, 64, SoundFeatures.MFCC)
    assert Design.read(design.write()) == design


@pytest.mark.parametrize(
    "kinds",
    [
        (TextTower.TABLE, ImageTower.CONVOLUTION, SoundFeatures.LOG_MEL),
        (TextTower.GRU, ImageTower.VIT, SoundFeatures.MFCC),
        (TextTower.TRANSFORMER, ImageTower.VIT, SoundFeatures.LOG_MEL),
    ],
    ids="-".join,
)
def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(
    tmp_path: Path, kinds: tuple[TextTower, ImageTower, SoundFeatures]
) -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (9, 7, 3), np.uint8)) for _ in range(3)]
    samples = [rng.normal(size=n).astype(np.float32) for n in (8_000, 40_000, 900)]
    sounds = [Sound(some, 16_000) for some in samples]
    model = make(tmp_path, *kinds)
    inputs: tuple[list[Any], ...] = (TEXTS, pictures, sounds)
    for encoder, decoded in zip(model.encoders, inputs, strict=True):
        prepared = [encoder.prepare(one) for one in decoded]
        together = encoder.encode(prepared)
        alone = np.concatenate([encoder.encode([one]) for one in prepared])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
        assert encoder.encode([]).shape == (0, 16)
        assert isinstance(encoder, LocalEncoder)
        places = encoder.places(prepared)
        assert len(places) == len(prepared)
        for some, one in zip(places, prepared, strict=True):
            (own,) = encoder.places([one])
            np.testing.assert_allclose(some, own, atol=1e-5)
        if encoder.modality is Modality.TEXT:
            assert [len(some) for some in places] == [len(ids) for ids in prepared]
        widths = {some.shape[1] for some in places}
        assert len(widths) == 1


def test_a_sequence_says_how_much_it_reads(tmp_path: Path) -> None:
    model = make(tmp_path, TextTower.GRU, ImageTower.VIT, SoundFeatures.LOG_MEL)
    encoder = model.encoders[0]
    assert [encoder.fits(text) for text in TEXTS] == [True, True, True, False]
    assert encoder.limits.text_chars == 512
    assert len(encoder.prepare(TEXTS[3])) == 64


def test_texts_are_padded_and_their_own_states_averaged() -> None:
    texts = torch.tensor([5, 6, 7, 8, 9]), torch.tensor([0, 1])
    ids, lengths = pad(texts, 3)
    assert ids.tolist() == [[5, 0, 0], [6, 7, 8]]
    assert lengths.tolist() == [1, 3]
    assert mean(ids.float()[:, :, None], lengths)[:, 0].tolist() == [5, 7]


def test_files_that_are_no_towers_are_named(tmp_path: Path) -> None:
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / towers.WEIGHTS)
    with pytest.raises(ModelError, match=r"weights\.safetensors: not the weights of towers"):
        towers.load(tmp_path, Compute("cpu"))
    (tmp_path / towers.WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"weights\.safetensors: the weights cannot be read"):
        towers.load(tmp_path, Compute("cpu"))
