"""The training of the embedded model, on sets so small that it takes seconds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mmsearch.encode import mini, towers
from mmsearch.encode.compute import Compute
from mmsearch.encode.towers.convolution import Tower, fold
from mmsearch.encode.towers.networks import build
from mmsearch.encode.towers.shapes import Convolution, Design, Stage, Table, TowerShape
from mmsearch.records import Modality
from mmsearch.train.loop import train
from mmsearch.train.losses import cosine_loss
from mmsearch.train.mini.audio import AudioTask, Words
from mmsearch.train.mini.clips import SAMPLES, Clips, groups, make_clip, read
from mmsearch.train.mini.data import (
    KEPT,
    Picture,
    Recording,
    audioset_classes,
    recordings,
    words,
)
from mmsearch.train.mini.draw import COLOURS, draw
from mmsearch.train.mini.heads import Heads, HeadsTask, Pairs, folds, pair_up
from mmsearch.train.mini.image import ImageTask, jitter
from mmsearch.train.mini.speak import speak
from mmsearch.train.mini.synth import SYNTHETIC, synthesise
from mmsearch.train.mini.teachers import SoundTeacher
from mmsearch.train.mini.text import train_table
from mmsearch.train.mini.views import CHANNELS, Views, crop
from mmsearch.train.plan import Plan
from mmsearch.train.towers.export import eighth, export
from mmsearch.train.towers.words import Bags, TokenTable, train_vocabulary

TEXTS = [f"{count} {colour} {thing}" for count in ("one", "two") for colour in ("red", "blue")
         for thing in ("dogs", "cats", "boats")]  # fmt: skip


def unit(rows: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(rows, 256, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_a_table_learns_its_texts() -> None:
    tokenizer = train_vocabulary(TEXTS)
    bags, targets = Bags(tokenizer, TEXTS * 100), unit(len(TEXTS)).repeat(100, 1)
    table = train_table(bags, tokenizer.get_vocab_size(), targets, epochs=5, seed=0)
    before = TokenTable(torch.randn(tokenizer.get_vocab_size(), 256))
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


def test_heads_bring_pictures_to_their_texts(tmp_path: Path) -> None:
    tokenizer = train_vocabulary(TEXTS)
    kind = np.arange(600) // 4 % len(TEXTS)  # every kind is in every fold
    bags = Bags(tokenizer, [TEXTS[number] for number in kind])
    inputs = torch.randn(600, 64) + 3 * torch.randn(len(TEXTS), 64)[kind]
    owner = np.arange(600)
    pairs = Pairs(owner, owner, np.ones(600, np.int64), kind)
    table, heads = TokenTable(torch.randn(tokenizer.get_vocab_size(), 256)), Heads(64)
    fold = folds(pairs, np.arange(600))
    task = HeadsTask(heads, table, inputs, fold, pairs, bags, seed=0)
    train(task, Plan(10, learning_rate=3e-3), tmp_path)
    heads.eval()
    with torch.no_grad():
        texts = table(Bags(tokenizer, TEXTS)[np.arange(len(TEXTS))])
        for asked in (fold, np.full(600, -1)):
            scores = heads(inputs, torch.from_numpy(asked)) @ texts.T
            assert np.mean(scores.argmax(dim=1).numpy() == kind) > 0.5


def test_a_head_speaks_only_for_what_it_has_not_read() -> None:
    heads = Heads(8).eval()
    x, fold = torch.randn(5, 8), torch.tensor([0, 1, 2, 3, -1])
    with torch.no_grad():
        points = heads(x, fold)
        each = torch.stack([normalize(member(x), dim=1) for member in heads.members])
    for row in range(4):
        torch.testing.assert_close(points[row], each[row, row])
    torch.testing.assert_close(points[4], normalize(each[:, 4].sum(dim=0), dim=0))


def views_of(count: int, folder: Path) -> Views:
    rng = np.random.default_rng(0)
    for name, some in (("a-00000", count // 2), ("b-00000", count - count // 2)):
        pixels = rng.integers(0, 255, (4 * some, 128, 128, 3), np.uint8)
        maps = rng.standard_normal((4 * some, 7, 7, CHANNELS)).astype(np.float16)
        np.save(folder / f"{name}.pixels.npy", pixels)
        np.save(folder / f"{name}.maps.npy", maps)
    album = [Picture(Path(f"{number}.jpg"), ("a dog",), "a") for number in range(count)]
    return Views(folder, ["a-00000", "b-00000"], album)


def test_views_are_read_in_any_order(tmp_path: Path) -> None:
    views = views_of(7, tmp_path)
    assert len(views) == 28
    second = np.load(tmp_path / "b-00000.pixels.npy")
    numbers = np.array([27, 0, 12, 11])
    assert (views.pixels(numbers)[2] == second[0]).all()
    assert (views.pixels(numbers)[0] == second[-1]).all()
    assert views.maps(numbers).shape == (4, 7, 7, CHANNELS)
    assert views.means().shape == (28, CHANNELS)


def test_what_is_said_of_places_moves_with_the_pixels() -> None:
    """A bright corner of the picture and of its map are cut, stretched and mirrored alike."""
    rng = np.random.default_rng(0)
    pixels, maps = torch.zeros(16, 128, 128, 3), torch.zeros(16, 7, 7, 1)
    pixels[:, :64, :64], maps[:, :3, :3] = 255, 1
    cut, places = jitter(pixels, maps, 96, rng)
    assert cut.shape == (16, 3, 96, 96)
    assert places.shape == (16, 1, 6, 6)
    pooled = torch.nn.functional.adaptive_avg_pool2d(cut[:, :1] / 255, 6)
    found = torch.corrcoef(torch.stack([pooled.flatten(), places.flatten()]))[0, 1]
    assert found > 0.85
    left, right = places[:, 0, :3, :3].sum(dim=(1, 2)), places[:, 0, :3, 4:].sum(dim=(1, 2))
    assert (left > right).any() and (right > left).any()


def test_an_image_tower_learns_and_a_killed_run_continues(tmp_path: Path) -> None:
    views = views_of(34, tmp_path)
    pairs, texts = pair_up(views.pictures, views.owners)
    heads = Heads(CHANNELS).eval().requires_grad_(False)

    def task() -> ImageTask:
        fold = folds(pairs, views.owners)
        device = torch.device("cpu")
        return ImageTask(
            views, heads, fold, unit(len(texts)), pairs, seed=0, device=device, steps=2
        )

    plan = Plan(2, checkpoint_s=0)
    whole = task()
    losses = train(whole, plan, tmp_path / "whole").series("loss")[1]
    assert losses[1] < losses[0]
    stopped = task()
    keep = stopped.backward
    stopped.backward = lambda step: keep(step) if step == 0 else 1 // 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        train(stopped, plan, tmp_path / "parts")
    resumed = task()
    train(resumed, plan, tmp_path / "parts")
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_audio_tower_tells_two_sounds_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = np.arange(64) % 2
    mels = rng.normal(0, 0.2, (64, 64, 500))
    mels[kind == 1, 10:20] += 1
    clips = Clips(
        mels.astype(np.float16),
        np.eye(2, dtype=np.float32)[kind],
        np.full((64, 521), 0.01, np.float32),
        rng.normal(0, 1, (64, 1024)).astype(np.float32),
    )
    label_words = Words(unit(2)[None], unit(521, seed=1))
    task = AudioTask(clips, label_words, seed=0, device=torch.device("cpu"))
    train(task, Plan(5, learning_rate=2e-3), tmp_path)
    with torch.no_grad():
        tower = task.model.tower.train()
        points = tower(torch.from_numpy(clips.mels).float()[:, None, :, :200])
    nearest = (points @ label_words.labels[0].T).argmax(dim=1).numpy()
    assert np.mean(nearest == kind) > 0.8


def test_exported_weights_embed_as_trained(tmp_path: Path) -> None:
    path, tokenizer = tmp_path / "mini.safetensors", train_vocabulary(TEXTS)
    table = TokenTable(torch.randn(tokenizer.get_vocab_size(), 256))
    shapes: dict[Modality, TowerShape] = {
        Modality.TEXT: Table(),
        Modality.IMAGE: Convolution(3, 16, (Stage(16, 1, 1), Stage(32, 1)), hidden=64),
        Modality.AUDIO: Convolution(1, 16, (Stage(32, 1),)),
    }
    design = Design("mini-9", 256, shapes)
    tower, listener = (build(design, kind).eval() for kind in (Modality.IMAGE, Modality.AUDIO))
    trained = {Modality.TEXT: table, Modality.IMAGE: tower, Modality.AUDIO: listener}
    export(path, design, trained, tokenizer)
    weights = towers.Weights(path, "mini-9")
    assert weights.design() == design
    text, image, _ = towers.model("mini-9", weights, Compute("cpu")).encoders
    assert text.space.sha256 != mini.load(Compute()).spaces[0].sha256
    found = text.encode([text.prepare(line) for line in TEXTS])
    expected = table(Bags(tokenizer, TEXTS)[np.arange(len(TEXTS))]).detach().numpy()
    assert (found * expected).sum(axis=1).min() > 0.9995
    square = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    shown = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        assert isinstance(tower, Tower)
        seen = fold(tower)(shown).numpy()
    np.testing.assert_allclose(image.encode([square]), seen, atol=5e-3)


def test_rows_of_all_lengths_survive_in_an_eighth_of_their_bits() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 256)).astype(np.float32) * np.geomspace(0.01, 10, 50)[:, None]
    table, scale = eighth(np.vstack([rows, np.zeros((1, 256))]).astype(np.float32))
    assert table.dtype == np.int8
    assert scale.dtype == np.float16
    again = table[:50] * scale[:50, None].astype(np.float32)
    lengths = np.linalg.norm(again, axis=1) / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(lengths / lengths[-1], 1, atol=0.01)
    assert not table[50].any()


@pytest.mark.parametrize("seed", range(12))
def test_drawings_show_what_their_captions_say(seed: int) -> None:
    picture, texts = draw(np.random.default_rng(seed))
    assert picture.size == (160, 160)
    seen = np.unique(np.asarray(picture).reshape(-1, 3), axis=0).astype(int)
    for colour in (word for word in texts[0].split() if word in COLOURS):
        assert np.abs(seen - COLOURS[colour]).max(axis=1).min() <= 12


def test_crops_lie_in_the_picture_and_hold_their_share() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = crop((300, 200), 0.5, rng)
        assert 0 <= left < right <= 300 + 1e-9
        assert 0 <= top < bottom <= 200 + 1e-9
        assert (right - left) * (bottom - top) >= 0.35 * 60_000


@pytest.mark.parametrize("label", sorted(SYNTHETIC))
def test_synthesised_sounds_are_sounds(label: str) -> None:
    samples = synthesise(label, 1.0, np.random.default_rng(0))
    assert samples.shape == (16_000,)
    assert np.isfinite(samples).all()
    assert samples.std() > 0


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_words_are_spoken_in_many_voices() -> None:
    spoken = [speak("the spoken word dog", np.random.default_rng(seed)) for seed in range(4)]
    assert all(8_000 < len(samples) < 48_000 for samples in spoken)
    assert all(0.01 < np.abs(samples).max() <= 1 for samples in spoken)
    assert len({samples.tobytes() for samples in spoken}) == 4


def test_a_clip_knows_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.train.mini.clips.SPEECH", 0.0)
    rng = np.random.default_rng(0)
    sounds = {name: [rng.standard_normal(8_000).astype(np.float32)] for name in ("dog", "rain")}
    names = ["dog", "rain", *SYNTHETIC]
    for _ in range(3):
        clip, shares = make_clip(sounds, names, rng)
        assert clip.shape == (SAMPLES,)
        assert np.sqrt(np.mean(clip**2)) == pytest.approx(1, rel=1e-3)
        assert shares.sum() == pytest.approx(1)


def test_each_group_has_a_fold_and_all_notes_that_are_trained_on() -> None:
    recordings = [Recording(Path(f"{n}.ogg"), "rain", "esc10", str(1 + n % 4)) for n in range(12)]
    for name in ("A3", "D4", "Gs5", "B2", "C4"):
        recordings.append(Recording(Path(f"{name}.mp3"), "flute", "instruments", name))
    found = groups(recordings)
    assert sorted(found) == ["1", "2", "3", "4", KEPT]
    assert [r.group for r in found[KEPT]] == ["D4", "Gs5"]
    for group in "1234":
        folds = [r.group for r in found[group] if r.kind == "esc10"]
        assert folds == [group] * 3
        assert [r.group for r in found[group] if r.kind != "esc10"] == ["A3", "B2", "C4"]


def test_folder_names_become_words() -> None:
    assert [words(name) for name in ("grand_piano", "dog_bark", "yinYang")] == [
        "grand piano",
        "dog bark",
        "yin yang",
    ]


def test_the_sound_teacher_hears_what_sounds(data_folder: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    teacher, names = SoundTeacher(data_folder / "teachers"), audioset_classes(data_folder)
    heard = {}
    for recording in recordings(data_folder):
        if recording.label in ("chainsaw", "helicopter") and recording.label not in heard:
            scores, features = teacher(read(recording.path))
            assert (scores.shape, features.shape) == ((521,), (1024,))
            heard[recording.label] = [names[at] for at in np.argsort(-scores)[:5]]
    assert "chainsaw" in heard["chainsaw"]
    assert {"vehicle", "helicopter"} & set(heard["helicopter"])
