"""The PE-AV adapter against transformers' own forward, on small random checkpoints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_checkpoints import embed, sounds
from tiny_pe_av import DIM, network, video_config, write_pe_av

import mmsearch
from mmsearch.encode import load_model
from mmsearch.encode.resampling import resample
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Modality

TEXTS = ["a dog", "rain on a tin roof, far away and at night", "x"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pe_av")
    return {
        "audio": write_pe_av(root / "audio"),
        "video": write_pe_av(root / "video", video=True),
        "other rate": write_pe_av(root / "rate", rate_hz=16_000),
    }


def library(folder: Path) -> tuple[FloatArray, FloatArray]:
    """One text and one sound at a time through the model's forward."""
    import torch
    from torch.nn.functional import normalize
    from transformers import AutoTokenizer, PeAudioFeatureExtractor, PeAudioModel

    model: Any = network()
    if folder.name == "audio":
        model = PeAudioModel.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    extractor: Any = PeAudioFeatureExtractor.from_pretrained(folder)
    rate_hz, texts, heard = extractor.sampling_rate, [], []
    for text, sound in zip(TEXTS, sounds(), strict=True):
        written = tokenizer(text, return_tensors="pt")
        samples = extractor(resample(sound, rate_hz), sampling_rate=rate_hz, return_tensors="pt")
        with torch.no_grad():
            said = model(**written, **samples)
        texts.append(normalize(said.text_audio_embeds, dim=1).numpy())
        heard.append(normalize(said.audio_embeds, dim=1).numpy())
    return np.concatenate(texts), np.concatenate(heard)


@pytest.mark.parametrize("kind", ["audio", "video", "other rate"])
def test_embeds_as_the_library_does(folders: dict[str, Path], kind: str) -> None:
    text, audio = load_model(f"pe_av:{folders[kind]}").encoders
    texts, heard = library(folders[kind])
    np.testing.assert_allclose(embed(text, TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(embed(audio, sounds()), heard, atol=1e-5)
    assert (text.modality, audio.modality) == (Modality.TEXT, Modality.AUDIO)
    assert (text.space.dim, text.space.normalized) == (DIM, True)
    assert text.space == audio.space


def test_weights_rate_and_settings_make_the_space(folders: dict[str, Path]) -> None:
    spaces = [load_model(f"pe_av:{folder}").spaces[0] for folder in folders.values()]
    assert len({space.sha256 for space in spaces}) == 3
    audio = [load_model(f"pe_av:{folder}").encoders[1] for folder in folders.values()]
    heard = [embed(encoder, sounds()) for encoder in audio]
    np.testing.assert_allclose(heard[0], heard[1], atol=1e-6)  # the same weights by other names
    assert np.abs(heard[2] - heard[0]).max() > 1e-2


def test_a_model_for_video_calls_its_parts_so(folders: dict[str, Path]) -> None:
    """The names in our small checkpoint are among those of the library's own model."""
    import torch
    from safetensors import safe_open
    from transformers import PeAudioVideoModel

    with torch.device("meta"):
        model: Any = PeAudioVideoModel(video_config(network().config))
    with safe_open(folders["video"] / "model.safetensors", framework="np") as file:
        assert set(file.keys()) <= set(model.state_dict())


def test_an_index_ranks_by_the_cosine_and_a_sound_finds_itself(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    import soundfile

    for number, sound in enumerate(sounds()):
        soundfile.write(tmp_path / f"{number}.wav", sound.samples, sound.sample_rate_hz, "FLOAT")
    text, audio = load_model(f"pe_av:{folders['audio']}").encoders
    with mmsearch.create(tmp_path / "index", model=f"pe_av:{folders['audio']}") as index:
        index.add([*tmp_path.glob("*.wav")])
        hits = index.search("a dog", target="audio", k=3)
        for number in range(3):
            (own,) = index.search(audio=tmp_path / f"{number}.wav", target="audio", k=1)
            assert own.item.path.stem == f"{number}"
    scores = embed(audio, sounds()) @ embed(text, ["a dog"])[0]
    best = [f"{n}" for n in np.argsort(-scores)]
    assert [hit.item.path.stem for hit in hits] == best


def test_what_is_no_checkpoint_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"is no PE-AV checkpoint: it has no config\.json"):
        load_model(f"pe_av:{tmp_path / 'empty'}").encoders[0].prepare("a dog")
    other = write_pe_av(tmp_path / "other")
    state = load_file(other / "model.safetensors")
    del state["audio_head.proj.weight"]
    save_file(state, other / "model.safetensors")
    encoder = load_model(f"pe_av:{other}").encoders[1]
    with pytest.raises(ModelError, match=r"PE-AV model: audio_head\.proj\.weight is missing"):
        embed(encoder, sounds())


def test_a_checkpoint_runs_no_code_of_its_own(tmp_path: Path) -> None:
    folder = write_pe_av(tmp_path / "own")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit")
    with pytest.raises(ModelError, match="cannot use"):
        _ = load_model(f"pe_av:{folder}").spaces
    assert not (tmp_path / "ran").exists()


def test_only_what_is_of_sounds_and_texts_makes_the_space(tmp_path: Path) -> None:
    """Not the version of the library that wrote the settings, nor what is of pictures."""
    folder = write_pe_av(tmp_path / "video", video=True)
    before = load_model(f"pe_av:{folder}").spaces
    settings = json.loads((folder / "config.json").read_text())
    settings["transformers_version"] = "99"
    settings["audio_video_config"]["video_config"] = {"hidden_size": 7}
    (folder / "config.json").write_text(json.dumps(settings))
    assert load_model(f"pe_av:{folder}").spaces == before


def test_a_text_fits_up_to_512_tokens_and_a_window_has_30_s(folders: dict[str, Path]) -> None:
    """As the context of Meta's own transform, and the length of a training sample."""
    text, audio = load_model(f"pe_av:{folders['audio']}").encoders
    assert text.fits("dog" * 510)  # and the start and the end
    assert not text.fits("dog" * 511)
    assert [len(text.prepare("dog" * count)) for count in (509, 510, 511)] == [511, 512, 512]
    assert text.limits.text_chars == 4 * 77
    assert (audio.limits.window_s, audio.limits.hop_s) == (30, 15)
