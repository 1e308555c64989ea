"""The training of the embedded model, on sets so small that it takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mmsearch.encode import mini
from mmsearch.encode.mini.image import ImageEncoder
from mmsearch.encode.mini.text import TextEncoder
from mmsearch.encode.mini.towers import build, fold
from mmsearch.train.audio import Words, train_audio
from mmsearch.train.clips import Clips, make_clip
from mmsearch.train.data import Picture, words
from mmsearch.train.export import export
from mmsearch.train.heads import Pairs, pair_up, train_heads
from mmsearch.train.image import Lesson, train_image
from mmsearch.train.loop import Loop, Plan
from mmsearch.train.losses import contrastive_loss, cosine_loss, similarity_loss
from mmsearch.train.synth import SYNTHETIC, synthesise
from mmsearch.train.text import Bags, TokenTable, train_table, train_vocabulary
from mmsearch.train.views import Views

TEXTS = [f"{count} {colour} {thing}" for count in ("one", "two") for colour in ("red", "blue")
         for thing in ("dogs", "cats", "boats")]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small batches on threads that wait for each other take longer than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def unit(rows: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(rows, 256, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_losses_are_least_where_they_should_be() -> None:
    points, other = unit(8), unit(8, seed=1)
    same = torch.eye(8, dtype=torch.bool)
    assert cosine_loss(points, points).item() == pytest.approx(0, abs=1e-6)
    assert similarity_loss(points, points).item() == pytest.approx(0, abs=1e-5)
    assert similarity_loss(points, other).item() > 0.01
    near, far = (contrastive_loss(points, right, same, 0.1) for right in (points, other))
    assert near < far


def test_a_table_learns_its_texts() -> None:
    tokenizer = train_vocabulary(TEXTS)
    bags, targets = Bags(tokenizer, TEXTS * 100), unit(len(TEXTS)).repeat(100, 1)
    table = train_table(bags, tokenizer.get_vocab_size(), targets, epochs=5, seed=0)
    before = TokenTable(tokenizer.get_vocab_size())
    some = np.arange(len(TEXTS))
    assert cosine_loss(table(bags[some]), targets[some]) < 0.8 * cosine_loss(
        before(bags[some]), targets[some]
    )


def test_pairs_know_which_texts_fit() -> None:
    album = [
        Picture(Path("a.jpg"), ("one", "two"), "flickr8k"),
        Picture(Path("b.jpg"), (), "photos"),
        Picture(Path("c.jpg"), ("a dog",), "caltech101"),
        Picture(Path("d.jpg"), ("a dog",), "caltech101"),
    ]
    pairs, texts = pair_up(album, np.array([0, 1, 2, 3, 0]))
    assert texts == ["one", "two", "a dog", "a dog"]
    assert pairs.rows.tolist() == [0, 2, 3, 4]
    assert pairs.same(np.arange(4)).int().tolist() == [
        [1, 0, 0, 1],
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [1, 0, 0, 1],
    ]


def test_heads_bring_pictures_to_their_texts() -> None:
    tokenizer = train_vocabulary(TEXTS)
    bags, inputs = Bags(tokenizer, TEXTS * 50), torch.randn(600, 64)
    owner = np.arange(600, dtype=np.int64)
    pairs = Pairs(owner, owner, np.ones(600, np.int64), owner % len(TEXTS))
    inputs += 3 * torch.randn(len(TEXTS), 64)[owner % len(TEXTS)]
    table = TokenTable(tokenizer.get_vocab_size())
    heads = train_heads(table, inputs, pairs, bags, seed=0)
    scores = heads(inputs) @ table(bags[np.arange(len(TEXTS))]).T
    nearest = scores.argmax(dim=1).numpy()
    assert np.mean(nearest == owner % len(TEXTS)) > 0.5


def album_of(count: int) -> tuple[Views, Lesson]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (count, 128, 128, 3), np.uint8)
    owner = np.arange(count, dtype=np.int64)
    pairs = Pairs(owner, owner, np.ones(count, np.int64), owner)
    teacher = torch.from_numpy(rng.standard_normal((count, 2025)).astype(np.float32))
    lesson = Lesson(teacher, unit(count), pairs, unit(count, seed=1))
    return Views(owner, pixels, np.zeros((count, 2025), np.float16)), lesson


def test_an_image_tower_learns_and_a_killed_run_continues(tmp_path: Path) -> None:
    views, lesson = album_of(48)
    train_image(views, lesson, tmp_path / "image.pt", Plan(1, seed=0))
    assert torch.load(tmp_path / "image.pt", weights_only=True)["done"] == 1
    tower = train_image(views, lesson, tmp_path / "image.pt", Plan(2, seed=0))
    state = torch.load(tmp_path / "image.pt", weights_only=True)
    assert state["done"] == 2
    torch.testing.assert_close(state["model"]["tower.head.bias"], tower.head.bias)


def test_an_audio_tower_tells_two_sounds_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = np.arange(64) % 2
    mels = rng.normal(0, 0.2, (64, 64, 500))
    mels[kind == 1, 10:20] += 1
    clips = Clips(
        mels.astype(np.float16),
        np.eye(2, dtype=np.float32)[kind],
        np.full((64, 521), 0.01, np.float32),
    )
    label_words = Words(unit(2)[None], unit(521, seed=1))
    tower = train_audio(clips, label_words, tmp_path / "audio.pt", Plan(5, seed=0)).train()
    with torch.no_grad():
        points = tower(torch.from_numpy(clips.mels).float()[:, None, :, :200])
    nearest = (points @ label_words.labels[0].T).argmax(dim=1).numpy()
    assert np.mean(nearest == kind) > 0.8


def test_the_loss_of_a_loop_falls(tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 1)
    loop = Loop(model, torch.optim.SGD(model.parameters(), lr=0.5), 50, tmp_path / "line.pt")
    inputs = torch.randn(64, 4)
    first = model(inputs).square().mean().item()
    while loop.running:
        loop.step(model(inputs).square().mean())
    assert model(inputs).square().mean().item() < first


def test_exported_weights_embed_as_trained(tmp_path: Path) -> None:
    path, tokenizer = tmp_path / "mini-1.safetensors", train_vocabulary(TEXTS)
    table = TokenTable(tokenizer.get_vocab_size())
    towers = {name: build(name).eval() for name in ("image", "audio")}
    export(path, tokenizer, table, towers)
    text, image = TextEncoder(path), ImageEncoder(path)
    assert text.space.sha256 != mini.load().spaces[0].sha256
    found = text.encode([text.prepare(line) for line in TEXTS])
    expected = table(Bags(tokenizer, TEXTS)[np.arange(len(TEXTS))]).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)
    square = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    shown = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        seen = fold(towers["image"])(shown).numpy()
    np.testing.assert_allclose(image.encode([square]), seen, atol=5e-3)


@pytest.mark.parametrize("label", sorted(SYNTHETIC))
def test_synthesised_sounds_are_sounds(label: str) -> None:
    samples = synthesise(label, 1.0, np.random.default_rng(0))
    assert samples.shape == (16_000,)
    assert np.isfinite(samples).all()
    assert samples.std() > 0


def test_a_clip_knows_what_is_in_it() -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(8_000).astype(np.float32) for _ in range(2)]
    names = ["dog", "rain", *SYNTHETIC]
    for _ in range(3):
        clip, shares = make_clip(sounds, ["dog", "rain"], names, rng)
        assert clip.shape == (80_000,)
        assert np.sqrt(np.mean(clip**2)) == pytest.approx(1, rel=1e-3)
        assert shares.sum() == pytest.approx(1)


def test_folder_names_become_words() -> None:
    assert [words(name) for name in ("grand_piano", "dog_bark", "yinYang")] == [
        "grand piano",
        "dog bark",
        "yin yang",
    ]
