"""When memory runs out, batches get smaller; nothing is lost and nothing else is swallowed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeEncoder, fake_model
from media import COLOURS, picture

import mmsearch
from mmsearch import Model, ModelError
from mmsearch.encode.batching import Batching, input_bytes
from mmsearch.records import FloatArray, Modality, Sound

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
]


class Narrow(FakeEncoder):
    """Has memory for a few inputs at a time."""

    batch_size = 16

    def __init__(self, modality: Modality, room: int, error: Exception) -> None:
        super().__init__(modality)
        self._room, self._error = room, error
        self.sizes: list[int] = []

    def encode(self, prepared: Sequence[list[str]]) -> FloatArray:
        self.sizes.append(len(prepared))
        if len(prepared) > self._room:
            raise self._error
        return super().encode(prepared)


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "python", "cpu"])
def test_batches_are_halved_until_they_fit(error: Exception) -> None:
    encoder = Narrow(Modality.TEXT, 5, error)
    batching = Batching(encoder)
    words = [encoder.prepare(f"word{number}") for number in range(16)]
    found = batching(words)
    np.testing.assert_array_equal(found, FakeEncoder(Modality.TEXT).encode(words))
    assert encoder.sizes == [16, 8, 4, 4, 4, 4]
    batching(words[:6])
    assert encoder.sizes[6:] == [4, 2]  # it is not tried again
    assert batching.size == 4


def test_no_memory_at_all_says_what_to_do() -> None:
    batching = Batching(Narrow(Modality.IMAGE, 0, ERRORS[0]))
    with pytest.raises(ModelError, match="not enough memory to embed one image at a time: close"):
        batching([["red"]] * 3)


def test_other_errors_are_not_taken_for_it() -> None:
    batching = Batching(Narrow(Modality.IMAGE, 0, RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        batching([["red"]] * 3)


def test_an_index_is_filled_with_little_memory(tmp_path: Path) -> None:
    for number in range(20):
        picture(tmp_path / f"{number}.png", list(COLOURS)[number % 3])
    text = fake_model().encoders[0]
    narrow = Model("fake", (text, Narrow(Modality.IMAGE, 3, ERRORS[0])))
    with mmsearch.create(tmp_path / "index", model=narrow) as index:
        assert index.add(tmp_path.glob("*.png")).added == 20
        assert index.search("red", target="image", k=1)[0].signals["cosine"] > 0.99


class Gpu:
    """A GPU of 1,000 bytes, as far as torch tells of one."""

    def __init__(self) -> None:
        self.allocated = self.peak = 100

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {
            "is_initialized": lambda: True,
            "device_count": lambda: 1,
            "memory_allocated": lambda gpu: self.allocated,
            "memory_reserved": lambda gpu: self.peak,
            "max_memory_allocated": lambda gpu: self.peak,
            "mem_get_info": lambda gpu: (1000 - self.peak, 1000),
            "reset_peak_memory_stats": lambda gpu: setattr(self, "peak", self.allocated),
            "empty_cache": lambda: None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)


class OnGpu(Narrow):
    """Takes 10 bytes for each input while it embeds."""

    batch_size = 4

    def __init__(self, gpu: Gpu, room: int) -> None:
        super().__init__(Modality.TEXT, room, ERRORS[0])
        self._gpu = gpu

    def encode(self, prepared: Sequence[list[str]]) -> FloatArray:
        self._gpu.peak = max(self._gpu.peak, self._gpu.allocated + 10 * len(prepared))
        return super().encode(prepared)


def test_batches_fill_half_of_what_a_gpu_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu()
    gpu.install(monkeypatch)
    encoder = OnGpu(gpu, room=1000)
    batching = Batching(encoder)
    batching([["word"]] * 4)
    assert batching.size == 4  # the weights came with it
    batching([["word"]] * 4)
    assert batching.size == 32  # the power of two below half of 90
    batching([["word"]] * 100)
    assert encoder.sizes == [4, 4, 32, 32, 32, 4]
    monkeypatch.setattr("mmsearch.encode.batching.LARGEST_BYTES", 5 * input_bytes(["word"]))
    modest = Batching(encoder)
    for _ in range(2):
        modest([["word"]] * 4)
    assert modest.size == 5


def test_a_network_on_the_cpu_is_not_measured_by_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    Gpu().install(monkeypatch)
    batching = Batching(Narrow(Modality.TEXT, 1000, ERRORS[0]))
    for _ in range(2):
        batching([["word"]] * 16)
    assert batching.size == 16


def test_the_bytes_of_an_input_are_those_of_its_arrays() -> None:
    array = np.zeros((3, 4), np.float32)
    assert input_bytes(array) == 48
    assert input_bytes({"a": array, "b": array}) == 96
    assert input_bytes(Sound(array[0], 16_000)) >= 16


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "python", "cpu"])
def test_queries_are_embedded_with_little_memory(tmp_path: Path, error: Exception) -> None:
    narrow = Model("fake", (Narrow(Modality.TEXT, 3, error),))
    with mmsearch.create(tmp_path / "index", model=narrow) as index:
        (tmp_path / "note.txt").write_text("red apple")
        index.add(tmp_path / "note.txt")
        found = index.search_many(["red"] * 10, k=1)
        assert [len(hits) for hits in found] == [1] * 10
        assert index.search("red apple " * 60)


def test_batches_that_were_too_large_do_not_grow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu()
    gpu.install(monkeypatch)
    encoder = OnGpu(gpu, room=2)
    batching = Batching(encoder)
    for _ in range(2):
        batching([["word"]] * 4)
    assert (encoder.sizes, batching.size) == ([4, 2, 2, 2, 2], 2)
