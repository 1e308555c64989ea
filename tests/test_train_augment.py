"""What towers are given: changes keep what they promise, and all of them come from the step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from media import picture, sound

from mmsearch.encode.towers.features import cepstrum, log_mel
from mmsearch.encode.towers.networks import audio_input
from mmsearch.encode.towers.shapes import SoundFeatures
from mmsearch.errors import UsageError
from mmsearch.records import Item, Modality, Part
from mmsearch.train.losses import info_nce
from mmsearch.train.towers.clean import Cleaner, clean_text, near_copies
from mmsearch.train.towers.inputs import Mixing, Pictures
from mmsearch.train.towers.pictures import boxes, cut, recolour
from mmsearch.train.towers.prepare import enlarged, prepare, recipe
from mmsearch.train.towers.sounds import (
    add_noise,
    blend,
    colour,
    gain,
    leave_out,
    stretch,
    transpose,
)
from mmsearch.train.towers.task import mixed_loss


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mels(count: int = 4, seconds: int = 2, seed: int = 0) -> torch.Tensor:
    noise = [rng(seed + n).normal(size=16_000 * seconds) for n in range(count)]
    found = [log_mel(samples.astype(np.float32)) for samples in noise]
    return torch.from_numpy(np.stack(found))


def test_crops_lie_in_the_picture_and_half_are_mirrored() -> None:
    found = boxes(400, 0.6, rng())
    size, shift = found[:, [0, 1], [0, 1]].abs(), found[:, :, 2].abs()
    assert (size >= 0.6).all() and (size <= 1).all()
    assert (size + shift <= 1 + 1e-6).all()
    assert 0.4 < (found[:, 0, 0] < 0).float().mean() < 0.6
    ramp = torch.arange(32.0)[None, None, :, None].expand(400, 32, 32, 1)
    rising = cut(ramp, found, 16).diff(dim=3)[:, 0, 0, 4:12].mean(dim=1)
    assert ((rising < 0) == (found[:, 0, 0] < 0)).all()


def test_colours_change_a_little_and_stay_in_range() -> None:
    pixels = torch.full((50, 3, 4, 4), 128.0)
    found = recolour(pixels, rng())
    assert found.abs().max() <= 1
    assert 0.01 < found[:, 0, 0, 0].std() < 0.15
    assert (found == found[:, :, :1, :1]).all()


def test_a_stretch_starts_anywhere_and_goes_round() -> None:
    frames = np.arange(200, dtype=np.float16)[:, None].repeat(64, axis=1)
    found = stretch([frames] * 50, 300, rng())
    assert found.shape == (50, 64, 300)
    assert (((found[:, :, 1:] - found[:, :, :-1]) % 200) == 1).all()
    assert len(set(found[:, 0, 0].tolist())) > 30
    assert (stretch([frames], 300, None)[0, 0, :200] == torch.arange(200.0)).all()


def test_what_is_left_out_is_a_band_and_a_moment() -> None:
    x = mels()
    changed = leave_out(x.clone(), rng()) != x
    assert changed.any()
    for row in changed:
        whole_bands, whole_frames = row.all(dim=1), row.all(dim=0)
        assert whole_bands.sum() <= 8 and whole_frames.sum() <= 40
        assert not row[~whole_bands][:, ~whole_frames].any()


def test_loudness_changes_alike_everywhere() -> None:
    x = mels()
    change = gain(x, rng()) - x
    torch.testing.assert_close(change, change[:, :1, :1].expand_as(change), atol=1e-6, rtol=0)
    assert 0 < change.abs().max() < 0.25


def test_noise_adds_power_and_no_more_than_a_tenth() -> None:
    x = mels()
    power = [(4 * y + 1).exp().mean(dim=(1, 2)) for y in (x, add_noise(x, rng()))]
    assert (power[1] > power[0]).all()
    assert (power[1] < 1.15 * power[0]).all()


def test_two_sounds_at_once_are_the_sum_of_their_powers() -> None:
    x, y = mels(seed=0), mels(seed=9)
    torch.testing.assert_close(blend(x, y, 1.0), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(blend(x, x, 0.3), x, atol=1e-5, rtol=0)
    both = (4 * blend(x, y, 0.3) + 1).exp()
    expected = 0.3 * (4 * x + 1).exp() + 0.7 * (4 * y + 1).exp()
    torch.testing.assert_close(both, expected, rtol=1e-3, atol=1e-5)


def test_a_mixed_loss_is_the_mean_of_both_targets() -> None:
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    same = torch.eye(6, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    mixing = Mixing(rng().permutation(6), 0.25)
    own = mixed_loss(info_nce, scores, same, Mixing(mixing.partners, 1.0))
    other = mixed_loss(info_nce, scores, same, Mixing(mixing.partners, 0.0))
    torch.testing.assert_close(own, info_nce(scores, same))
    wanted = same[torch.from_numpy(mixing.partners)].float()  # row i fits what its partner fits
    logs = scores.log_softmax(dim=1), scores.log_softmax(dim=0)
    rows = -(wanted / wanted.sum(dim=1, keepdim=True) * logs[0]).sum(dim=1).mean()
    columns = -(wanted / wanted.sum(dim=0, keepdim=True) * logs[1]).sum(dim=0).mean()
    torch.testing.assert_close(other, (rows + columns) / 2)
    mixed = mixed_loss(info_nce, scores, same, mixing)
    torch.testing.assert_close(mixed, 0.25 * own + 0.75 * other)


def test_shares_are_of_the_beta_distribution() -> None:
    shares = [Mixing.draw(4, 0.2, rng(seed)).share for seed in range(400)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    assert np.var(shares) == pytest.approx(1 / (4 * 1.4), abs=0.02)  # of Beta(a, a)
    assert Mixing.draw(4, 0.0, rng()).share == 1


def test_changes_come_from_the_generator_alone(tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{n}.png", c) for n, c in enumerate(("red", "green", "blue"))]
    parts = [Part("image", Modality.IMAGE, str(file)) for file in files]
    how = recipe(Modality.IMAGE, 32)
    inputs = Pictures(prepare(parts, how, tmp_path, print), 32)
    some, others = np.array([0, 2]), np.array([1, 0])
    one, again, other = (inputs.varied(some, others, 0.5, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    plain = inputs.plain(some)
    assert plain.shape == one.shape == (2, 3, 32, 32)
    torch.testing.assert_close(plain[0, :, 9, 9], torch.tensor([1.0, -1.0, -1.0]))


def test_mfcc_are_the_cosine_transform_of_log_mels() -> None:
    x = mels(2)
    found = audio_input(x, SoundFeatures.MFCC)
    assert found.shape == (2, 1, 40, 200)
    torch.testing.assert_close(found[:, 0, 0], x.mean(dim=1), atol=1e-5, rtol=0)
    np.testing.assert_allclose(64 * cepstrum() @ cepstrum().T, np.eye(40), atol=1e-5)
    assert audio_input(x, SoundFeatures.LOG_MEL).shape == (2, 1, 64, 200)


def test_parts_are_decoded_once_and_failures_named(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("nothing")
    files = [sound(tmp_path / "a.wav", "low", 2.5), tmp_path / "broken.wav"]
    parts = [Part("audio", Modality.AUDIO, str(file)) for file in files]
    how, told = recipe(Modality.AUDIO, 32), list[str]()
    for _ in range(2):
        prepared = prepare(parts, how, tmp_path / "prepared", told.append)
        assert prepared[0].shape == (300, 64)
        assert prepared.usable.tolist() == [True, False]
    assert len(told) == 1


@pytest.mark.parametrize("side", range(32, 520, 8))
def test_crops_are_cut_from_larger_squares(side: int) -> None:
    assert enlarged(side) % 8 == 0
    assert 1.08 * side < enlarged(side) < 1.27 * side


def test_texts_are_cleaned() -> None:
    assert clean_text(" cafe\u0301\t\x07 noir\n") == "caf\u00e9 noir"
    assert clean_text("\x00 \n") == ""


def test_labels_become_texts_and_empty_texts_go() -> None:
    parts = (Part("image", Modality.IMAGE, "/a.png"), Part("text", Modality.TEXT, text=" \t"))
    item = Item("rows.csv", parts, "1", {"label": ("dog ", "")})
    texts = [part.text for part in Cleaner("label")(item).parts if part.text is not None]
    assert texts == ["a photo of a dog"]
    sounds = Item("rows.csv", (Part("audio", Modality.AUDIO, "/a.wav"),), "1", {"label": "dog"})
    assert Cleaner("label")(sounds).parts[1].text == "the sound of a dog"
    with pytest.raises(UsageError, match="no column 'kind'"):
        Cleaner("kind")(item)


def test_near_copies_are_found_whatever_the_block() -> None:
    marks = rng().uniform(0, 255, (300, 192)).astype(np.float32)
    others = marks[[7, 250]] + rng().normal(0, 1, (2, 192)).astype(np.float32)
    assert np.flatnonzero(near_copies(marks, others, 2.0)).tolist() == [7, 250]
    assert not near_copies(marks, others[:0], 2.0).any()


def test_sounds_are_moved_by_whole_bands() -> None:
    x = torch.arange(64.0)[None, :, None].expand(32, 64, 5)
    moved = transpose(x, 3, np.random.default_rng(0))
    steps = (moved - x)[:, 10, 0]
    assert set(steps.tolist()) == {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}
    assert moved.min() == 0 and moved.max() == 63
    assert torch.equal(moved[:, 10:50], (x + steps[:, None, None])[:, 10:50])


def test_colour_is_smooth_and_each_sound_s_own() -> None:
    x = torch.zeros(200, 64, 4)
    coloured = colour(x, 0.1, np.random.default_rng(0))
    assert torch.equal(coloured[:, :, 0], coloured[:, :, 3])
    assert coloured[:, :, 0].std().item() == pytest.approx(0.1 * 2**0.5, rel=0.2)
    assert coloured.diff(dim=1).abs().max() < 0.1
    assert (coloured[0] - coloured[1]).abs().max() > 0.01
