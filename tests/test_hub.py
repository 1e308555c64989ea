"""A hub that does not answer: whatever way it is silent, the error comes within seconds."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_checkpoints import hub_cache

from mmsearch.encode import hub, load_model
from mmsearch.errors import ModelError


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a host that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


@pytest.fixture
def full() -> Iterator[int]:
    """The port of a host whose queue is full: further connections hang."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = server.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    yield port
    for one in (*waiting, server):
        one.close()


@pytest.mark.parametrize("kind", ["silent", "full"])
def test_a_hub_that_does_not_answer_costs_seconds(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    hub_cache(monkeypatch, tmp_path, {})
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{request.getfixturevalue(kind)}")
    monkeypatch.setattr(hub, "TIMEOUT_S", 1.0)
    started = time.monotonic()
    with pytest.raises(ModelError, match="not in the local cache and cannot be downloaded .no ans"):
        load_model("clap:laion/clap-htsat-unfused").encoders[0].prepare("a dog")
    assert time.monotonic() - started < 30  # imports, and not a minute of attempts
