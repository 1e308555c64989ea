"""Decoders and a network take turns at the cores."""

import threading

import pytest

from mmsearch.engine import pipeline
from mmsearch.engine.pipeline import Cores


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
