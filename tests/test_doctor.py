"""`mmsearch doctor`: what is there, what is not, and what to do about it."""

import re
from pathlib import Path

import pytest

from mmsearch.encode.presets import PRESETS
from mmsearch.engine import doctor
from mmsearch.store import speed


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both checkpoints of ``siglip2`` are in the cache; of ``clip`` the other one only begun."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "SPEED_S", 0.01)
    for name, files in {
        "laion/clap-htsat-unfused": ["config.json", "model.safetensors"],
        "timm/ViT-B-16-SigLIP2-256": ["open_clip_pytorch_model.bin"],
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": ["config.json"],
    }.items():
        snapshot = tmp_path / f"models--{name.replace('/', '--')}/snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        for file in files:
            (snapshot / file).write_text("{}")
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs/main").write_text("a" * 40)
    return tmp_path


def test_it_says_what_is_there_and_what_is_not(machine: Path) -> None:
    found = {finding.name: finding for finding in doctor.examine()}
    assert "mmsearch" in found["libraries"].found
    assert re.search(r"\d+ cores, \d+ GiB", found["cpu"].found)
    assert re.search(r"NumPy \d+ GFLOP/s, FAISS \d+ GFLOP/s", found["products"].found)
    assert re.search(r"[1-9][\d,]* pictures/s", found["mini"].found)
    assert found["siglip2"].found == "downloaded"
    assert found["siglip2"].advice is None
    assert found["clip"].found == "not downloaded: laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert found["clip"].advice == "`mmsearch models pull clip` downloads 1.2 GB"
    assert found["cache"].found.startswith(f"{machine}: 2 checkpoints")


def test_a_slow_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "numpy_gflops", lambda: 118.0)
    monkeypatch.setattr(doctor, "faiss_gflops", lambda: 19.0)
    finding = doctor._products()
    assert finding.advice and "OPENBLAS_CORETYPE" in finding.advice
    monkeypatch.setattr(doctor, "faiss_gflops", lambda: 90.0)
    assert doctor._products().advice is None


def test_rates_are_of_real_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ROWS", 256)
    assert 0.1 < speed.numpy_gflops() < 1e5
    assert 0.1 < speed.faiss_gflops() < 1e5


def test_presets_name_the_repositories_that_are_loaded() -> None:
    import open_clip

    for preset in PRESETS.values():
        wanted = []
        for part in preset.model.split("+"):
            kind, _, name = part.partition(":")
            if kind == "open_clip":
                settings = open_clip.get_pretrained_cfg(*name.split("/"))
                name = settings["hf_hub"].rstrip("/")
            wanted += [name] if name else []
        assert list(preset.repositories) == wanted
