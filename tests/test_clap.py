"""The CLAP adapter against transformers itself, on small random checkpoints."""

import pickle
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_checkpoints import embed, hub_cache, sounds, write_clap

from mmsearch.encode import load_model
from mmsearch.encode.resampling import resample
from mmsearch.errors import ModelError, UsageError
from mmsearch.records import FloatArray, Modality, Sound

TEXTS = ["a dog", "dog dog dog", "rain on a tin roof, far away and at night"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("clap")
    return {
        "unfused": write_clap(root / "unfused"),
        "fused": write_clap(root / "fused", fused=True),
        "pad": write_clap(root / "pad", padding="pad"),
    }


def library_sounds(folder: Path) -> FloatArray:
    """Embed the sounds, one by one, as the model's documentation does."""
    import torch
    from torchaudio import functional
    from transformers import ClapModel, ClapProcessor

    model: Any = ClapModel.from_pretrained(folder)
    processor: Any = ClapProcessor.from_pretrained(folder)
    rate_hz = processor.feature_extractor.sampling_rate
    rows = []
    for sound in sounds():
        samples = functional.resample(
            torch.from_numpy(sound.samples), sound.sample_rate_hz, rate_hz
        )
        inputs = processor(audio=samples.numpy(), sampling_rate=rate_hz, return_tensors="pt")
        with torch.no_grad():
            rows.append(model.get_audio_features(**inputs).pooler_output)
    features: FloatArray = torch.cat(rows).numpy()
    return features


def library_texts(folder: Path) -> FloatArray:
    """Embed the texts as the model's documentation does, cut to the context."""
    import torch
    from transformers import ClapModel, ClapProcessor

    model: Any = ClapModel.from_pretrained(folder, dtype=torch.float32)
    processor: Any = ClapProcessor.from_pretrained(folder)
    inputs = processor(text=TEXTS, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        features: FloatArray = model.get_text_features(**inputs).pooler_output.numpy()
    return features


@pytest.mark.parametrize("kind", ["unfused", "fused", "pad"])
def test_embeds_as_the_library_does(folders: dict[str, Path], kind: str) -> None:
    text, audio = load_model(f"clap:{folders[kind]}").encoders
    np.testing.assert_allclose(embed(audio, sounds()), library_sounds(folders[kind]), atol=1e-5)
    np.testing.assert_allclose(embed(text, TEXTS), library_texts(folders[kind]), atol=1e-5)
    assert (text.modality, audio.modality) == (Modality.TEXT, Modality.AUDIO)
    assert text.space == audio.space
    assert (text.space.dim, text.space.normalized) == (24, True)


@pytest.mark.parametrize(
    "change",
    [
        {"padding": "repeat"},
        {"padding": "pad"},
        {"sampling_rate": 9000},
        {"frequency_max": 3000},
        {"hop_length": 90},
        {"truncation": "fusion"},
    ],
    ids=str,
)
def test_other_preprocessing_is_noticed(
    folders: dict[str, Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    audio = load_model(f"clap:{folders['unfused']}").encoders[1]
    altered = write_clap(tmp_path / "altered", **change)
    other = load_model(f"clap:{altered}").encoders[1]
    assert other.space.sha256 != audio.space.sha256
    if change != {"truncation": "fusion"}:  # gives a mel spectrogram on other filters, four times
        assert np.abs(embed(audio, sounds()) - library_sounds(altered)).max() > 1e-3
    else:
        first, second = (encoder.prepare(sounds()[0]) for encoder in (audio, other))
        assert (first.mels.shape[0], second.mels.shape[0]) == (1, 4)
        assert np.abs(first.mels - second.mels).max() > 1e-3


def test_embeddings_do_not_depend_on_the_batch_or_on_chance(folders: dict[str, Path]) -> None:
    for kind in ("unfused", "fused"):
        audio = load_model(f"clap:{folders[kind]}").encoders[1]
        together = embed(audio, sounds())
        alone = np.concatenate([embed(audio, [sound]) for sound in sounds()])
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_window_is_never_cropped_at_random(folders: dict[str, Path]) -> None:
    """A full window of any sample rate is kept whole; a longer sound is refused."""
    audio = load_model(f"clap:{folders['unfused']}").encoders[1]
    assert (audio.limits.window_s, audio.limits.hop_s) == (2.0, 1.0)
    rng = np.random.default_rng(0)
    for rate_hz in (7_999, 8_000, 11_025, 44_100, 96_001):
        window = Sound(rng.normal(size=2 * rate_hz).astype(np.float32), rate_hz)
        window.samples.setflags(write=False)  # as a decoder's view of a longer sound may be
        first, second = audio.prepare(window), audio.prepare(window)
        np.testing.assert_array_equal(first.mels, second.mels)
        assert not first.is_longer.any()
    with pytest.raises(UsageError, match=r"a sound of 2\.001 s: give at most 2 s"):
        audio.prepare(Sound(np.zeros(2_001, np.float32), 1_000))


@pytest.mark.parametrize("rate_hz", [7_999, 22_255, 96_001])
def test_odd_rates_are_resampled_through_the_spectrum(rate_hz: int) -> None:
    def tone(rate_hz: int) -> Sound:
        time_s = np.arange(round(1.7 * rate_hz)) / rate_hz
        return Sound(np.sin(2 * np.pi * 440 * time_s).astype(np.float32), rate_hz)

    samples, expected = resample(tone(rate_hz), 48_000), tone(48_000).samples
    assert abs(len(samples) - len(expected)) <= 6
    inside = slice(4800, 72_000)
    np.testing.assert_allclose(samples[inside], expected[inside], atol=5e-3)


def test_fits_until_the_tokenizer_cuts(folders: dict[str, Path]) -> None:
    text = load_model(f"clap:{folders['unfused']}").encoders[0]
    assert text.fits("dog" * 22)  # and the start and the end: 24 tokens
    assert not text.fits("dog" * 23)
    assert len(text.prepare("dog" * 23)) == 24
    assert text.limits.text_chars == 4 * 24


def test_threads_share_one_network_and_one_tokenizer(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import ClapModel

    loads = []
    load = ClapModel.from_pretrained

    def counted(*args: Any, **options: Any) -> Any:
        loads.append(args)
        time.sleep(0.05)
        return load(*args, **options)

    monkeypatch.setattr(ClapModel, "from_pretrained", counted)
    text, audio = load_model(f"clap:{folders['unfused']}").encoders
    words = ["dog " * (7 * n % 900) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda one: (text.fits(one), text.prepare(one)), words))
        heard = list(pool.map(audio.prepare, sounds() * 2))
        batches = [pool.submit(audio.encode, heard), pool.submit(text.encode, [ids[0][1]])]
    assert all(np.isfinite(batch.result()).all() for batch in batches)
    assert len(loads) == 1
    for word, (fits, found) in zip(words, ids, strict=True):
        assert fits == text.fits(word)
        assert found.tolist() == text.prepare(word).tolist()


def test_a_hub_id_is_looked_up_in_the_cache(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_cache(monkeypatch, tmp_path, {"tests/clap": folders["unfused"]})
    model = load_model("clap:tests/clap")
    assert model.name == model.spaces[0].checkpoint == "clap:tests/clap"
    local = load_model(f"clap:{folders['unfused']}")
    assert model.spaces[0].sha256 == local.spaces[0].sha256
    np.testing.assert_array_equal(
        embed(model.encoders[1], sounds()), embed(local.encoders[1], sounds())
    )
    start = time.monotonic()
    missing = load_model("clap:tests/other")
    with pytest.raises(ModelError, match=r"^tests/other is not in the local cache .*:FOLDER$"):
        _ = missing.spaces
    assert time.monotonic() - start < 5


def test_half_precision_weights_are_computed_in_single(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from transformers import ClapModel

    folder = Path(shutil.copytree(folders["unfused"], tmp_path / "half"))
    model: Any = ClapModel.from_pretrained(folder)
    model.to(torch.float16).save_pretrained(folder)
    text = load_model(f"clap:{folder}").encoders[0]
    np.testing.assert_allclose(embed(text, TEXTS), library_texts(folder), atol=1e-5)


def test_what_is_known_not_to_work_is_refused() -> None:
    for name in ("clap:laion/larger_clap_music", "clap:/models/larger_clap_music"):
        with pytest.raises(ModelError, match=rf"^{name} is refused: its text tower is broken .*$"):
            load_model(name)
    for name in ("clap:/nowhere", "clap:nowhere", "clap:./a/b", "clap:"):
        with pytest.raises(ModelError, match=rf"^{name}: give a folder, or OWNER/NAME on the"):
            load_model(name)


def test_a_folder_that_is_no_checkpoint_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["unfused"], tmp_path / "broken"))
    weights = folder / "model.safetensors"
    state = load_file(weights)
    del state["text_projection.linear1.bias"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 are missing, first text_projection\.linear1\.bias$"):
        embed(load_model(f"clap:{folder}").encoders[0], TEXTS)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=rf"^cannot load {re.escape(str(folder))}: .*$"):
        embed(load_model(f"clap:{folder}").encoders[0], TEXTS)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"is no CLAP checkpoint: it has no tokenizer\.json or"):
        _ = load_model(f"clap:{folder}").spaces
    weights.rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelError, match=r"its weights are in several files; .* save_pretrained"):
        _ = load_model(f"clap:{folder}").spaces


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["unfused"], tmp_path / "trap"))
    (folder / "model.safetensors").unlink()
    trap = pickle.dumps({"logit_scale_a": Trap(tmp_path / "sprung")})
    (folder / "pytorch_model.bin").write_bytes(trap)
    with pytest.raises(ModelError, match=r"^cannot load .*$"):
        embed(load_model(f"clap:{folder}").encoders[0], TEXTS)
    assert not (tmp_path / "sprung").exists()


def test_loading_draws_nothing(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    text, audio = load_model(f"clap:{folders['unfused']}").encoders
    assert not text.fits("dog" * 100)
    embed(text, TEXTS)
    embed(audio, sounds())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("positions", "model_max_length"), [(22, 24), (26, 20), (22, 10**30)])
def test_the_shorter_of_positions_and_tokenizer_is_the_context(
    tmp_path: Path, positions: int, model_max_length: int
) -> None:
    """20 tokens each time; one more has no position, or is what the tokenizer would cut."""
    folder = write_clap(tmp_path / "c", positions=positions, model_max_length=model_max_length)
    text = load_model(f"clap:{folder}").encoders[0]
    assert text.fits("dog" * 18)
    assert not text.fits("dog" * 19)
    assert [len(text.prepare("dog" * count)) for count in (17, 18, 19)] == [19, 20, 20]
    assert np.isfinite(embed(text, ["dog" * 40])).all()
    if positions == 26:
        np.testing.assert_allclose(embed(text, TEXTS), library_texts(folder), atol=1e-5)
