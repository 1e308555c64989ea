"""Decoders and a network take turns at the cores; what waits between them is bounded."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import FakeEncoder
from media import picture

import mmsearch
from mmsearch import Model
from mmsearch.engine import pipeline
from mmsearch.engine.pipeline import Cores, Room
from mmsearch.records import FloatArray, Modality


def waits(cores: Cores) -> threading.Thread:
    thread = threading.Thread(target=cores.wait, daemon=True)
    thread.start()
    thread.join(0.05)
    return thread


def test_decoders_wait_while_a_network_computes() -> None:
    cores = Cores()
    cores.wait()
    with cores.taken():
        waiting = waits(cores)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_network_that_fails_lets_go() -> None:
    cores = Cores()
    with pytest.raises(RuntimeError), cores.taken():
        raise RuntimeError
    assert not waits(cores).is_alive()


def test_nobody_waits_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "on_gpu", lambda: True)
    cores = Cores()
    with cores.taken():
        assert not waits(cores).is_alive()


class Observed(FakeEncoder):
    """Notes how many pictures begin to be prepared while a batch is embedded."""

    batch_size = 4

    def __init__(self) -> None:
        super().__init__(Modality.IMAGE)
        self.busy = False
        self.beside = 0

    def prepare(self, decoded: object) -> list[str]:
        self.beside += self.busy
        return super().prepare(decoded)

    def encode(self, prepared: Sequence[list[str]]) -> FloatArray:
        time.sleep(0.01)  # what is being decoded comes to its end
        self.busy = True
        time.sleep(0.03)
        self.busy = False
        return super().encode(prepared)


@pytest.mark.parametrize("gpu", [False, True])
def test_indexing_decodes_nothing_beside_a_batch_on_the_cpu(
    gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "on_gpu", lambda: gpu)
    for number in range(60):
        picture(tmp_path / f"{number}.png", "red")
    encoder = Observed()
    with mmsearch.create(tmp_path / "index", model=Model("fake", (encoder,))) as index:
        assert index.add(tmp_path.glob("*.png")).added == 60
    assert (encoder.beside > 0) is gpu


def test_an_interrupt_at_any_point_of_a_turn_stops_no_decoder_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(threading.Event):
        """Ctrl-C comes when the turn ends, before the decoders hear of it."""

        def __init__(self) -> None:
            super().__init__()
            self.sets = 0

        def set(self) -> None:
            self.sets += 1
            if self.sets == 2:  # the first is that of a new one
                raise KeyboardInterrupt
            super().set()

    class Stuck(Cores):
        def __init__(self) -> None:
            self._free = Interrupted()
            self._free.set()

    monkeypatch.setattr("mmsearch.engine.ingest.Cores", Stuck)
    for number in range(60):
        picture(tmp_path / f"{number}.png", "red")
    done = []

    def add() -> None:
        with mmsearch.create(tmp_path / "index", model=Model("fake", (Observed(),))) as index:
            done.append(index.add(tmp_path.glob("*.png")).interrupted)

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    thread.join(30)
    assert done == [True]


def test_bytes_that_wait_are_bounded() -> None:
    room = Room(100)
    assert room.enter(60, 0)
    assert not room.enter(60, 0.01)
    room.leave(60)
    assert room.enter(1000, 0)  # larger than all: alone
    assert not room.enter(1, 0)
    room.leave(1000)
    assert room.enter(100, 0)
