"""What networks run on and how precisely: for every adapter, and as users choose it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import embed, pictures, sounds, write_clap, write_open_clip
from tiny_gemma import write_gemma
from tiny_pe_av import write_pe_av

import mmsearch
from mmsearch.encode import load_model
from mmsearch.encode.compute import Compute, Precision, has_bf16
from mmsearch.errors import ModelError, UsageError
from mmsearch.records import Modality


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "mini": "mini",
        "open_clip": f"open_clip:local-dir:{write_open_clip(root / 'siglip', 'siglip')}",
        "clap": f"clap:{write_clap(root / 'clap')}",
        "pe_av": f"pe_av:{write_pe_av(root / 'pe_av')}",
        "gemma": f"gemma:{write_gemma(root / 'gemma', {}, {})}",
    }


@pytest.mark.parametrize("kind", ["mini", "open_clip", "clap", "pe_av", "gemma"])
def test_bf16_is_near_fp32_and_not_the_same(names: dict[str, str], kind: str) -> None:
    exact, rough = (load_model(names[kind], "cpu", precision) for precision in ("fp32", "bf16"))
    assert exact.spaces == rough.spaces
    plain = load_model(names[kind], "cpu")
    inputs: dict[Modality, Any] = {
        Modality.TEXT: ["a dog"],
        Modality.IMAGE: pictures(),
        Modality.AUDIO: sounds(),
    }
    for encoder, other, default in zip(exact.encoders, rough.encoders, plain.encoders, strict=True):
        one, two, three = (embed(e, inputs[e.modality]) for e in (encoder, other, default))
        assert two.dtype == np.float32
        cosines = (one * two).sum(axis=1)
        cosines /= np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        assert cosines.min() > 0.99
        np.testing.assert_array_equal(one, three)  # fp32 is the CPU's own
        table = kind == "mini" and encoder.modality is Modality.TEXT
        assert table or (one != two).any()


def test_a_gpu_computes_in_bf16_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(Compute, "device", torch.device("cuda"))

    class Autocast:
        def __init__(self, kind: str, dtype: torch.dtype, enabled: bool) -> None:
            asked.append((kind, enabled))

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch, "autocast", Autocast)
    native = [True]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native[0])
    for precision in (None, Precision.FP32, Precision.BF16):
        with Compute(precision=precision).inference():
            assert torch.is_inference_mode_enabled()
    assert asked == [("cuda", True), ("cuda", False), ("cuda", True)]
    native[0] = False  # it would only be emulated
    with Compute().inference():
        assert asked[3:] == [("cuda", False)]


def test_users_choose_device_and_precision(names: dict[str, str], tmp_path: Path) -> None:
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number}.png")
    found = []
    for precision in ("fp32", "bf16"):
        where = tmp_path / precision
        options: dict[str, Any] = {"device": "cpu", "precision": precision}
        with mmsearch.create(where, model=names["open_clip"], **options) as index:
            index.add(sorted(tmp_path.glob("*.png")))
        with mmsearch.open(where, **options) as index:
            hits = index.search("a dog", target="image", k=3)
        found.append({hit.item.path.name: hit.signals["cosine"] for hit in hits})
    assert found[0] == pytest.approx(found[1], abs=0.05)
    assert found[0] != found[1]
    with pytest.raises(UsageError, match="^precision 'half': choose fp32 or bf16"):
        load_model("mini", precision="half")
    with mmsearch.open(tmp_path / "fp32", device="cuda:99") as index:
        with pytest.raises(UsageError, match="^device 'cuda:99' cannot be used"):
            index.search("a dog")


def test_a_device_that_is_not_there_is_no_fault_of_the_files(
    names: dict[str, str], tmp_path: Path
) -> None:
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    where = tmp_path / "index"
    mmsearch.create(where, model=names["open_clip"], device="cpu").close()
    with mmsearch.open(where, device="cuda:99") as index:
        with pytest.raises(UsageError, match="^device 'cuda:99' cannot be used"):
            index.add(files)
    with mmsearch.open(where, device="cpu") as index:
        assert index.add(files).added == len(files)


def test_a_processor_without_bf16_is_not_made_to_emulate_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        assert has_bf16(cpu) is has


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU())
    return torch.nn.Sequential(layers, torch.nn.Softplus())


COMPILER_WARNS = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")


@COMPILER_WARNS
def test_a_compiled_network_says_the_same(
    network: torch.nn.Module,
) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    plain = network(torch.from_numpy(x)).detach()
    torch._dynamo.utils.counters.clear()
    compute = Compute("cpu", compiled=True)
    placed = compute.place(network)
    with compute.inference():
        torch.testing.assert_close(placed(compute.tensor(x)), plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@COMPILER_WARNS
def test_a_network_that_cannot_be_compiled_is_said_in_one_line(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    compute = Compute("cpu", compiled=True)
    placed = compute.place(network)
    with pytest.raises(ModelError, match="cannot be compiled here"), compute.inference():
        placed(torch.zeros(3, 4))
