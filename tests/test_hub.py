"""A hub that does not answer: whatever way it is silent, the error comes within seconds."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_checkpoints import REVISION, hub_cache

from mmsearch.encode import hub, load_model
from mmsearch.encode.open_clip_recipe import SAFE, UNSAFE
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


OPEN_CLIP_FILES = "open_clip_model.safetensors or open_clip_pytorch_model.bin"
CLAP_FILES = (
    "config.json, model.safetensors or pytorch_model.bin, preprocessor_config.json or"
    " processor_config.json, tokenizer.json or the like"
)
SIGLIP = "open_clip:ViT-B-16-SigLIP2-256/webli=FILE or open_clip:local-dir:FOLDER"


@pytest.mark.parametrize(
    ("name", "there", "repo_id", "files", "instead"),
    [
        ("siglip2", None, "timm/ViT-B-16-SigLIP2-256", OPEN_CLIP_FILES, SIGLIP),
        (
            "siglip2",
            "timm/ViT-B-16-SigLIP2-256",
            "laion/clap-htsat-unfused",
            CLAP_FILES,
            "clap:FOLDER",
        ),
        (
            "clap:laion/clap-htsat-unfused",
            None,
            "laion/clap-htsat-unfused",
            CLAP_FILES,
            "clap:FOLDER",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_heavy_is_imported(
    tmp_path: Path, name: str, there: str | None, repo_id: str, files: str, instead: str
) -> None:
    """In a process of its own: it says which files, where they are looked for, and what else."""
    if there:
        repository = tmp_path / f"hub/models--{there.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs/main").write_text(REVISION)
        (repository / "snapshots" / REVISION).mkdir(parents=True)
        (repository / "snapshots" / REVISION / SAFE).touch()
    code = (
        "import sys; from mmsearch.cli.app import run;"
        f"code = run(['models', 'pull', {name!r}]);"
        "print(code, sorted({'torch', 'open_clip', 'transformers'} & set(sys.modules)))"
    )
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.stdout == "1 []\n"
    folder = tmp_path / f"hub/models--{repo_id.replace('/', '--')}"
    start, end = result.stderr.removesuffix("\n").split(" cannot be downloaded (")
    assert start == f"mmsearch: {repo_id} is not in the local cache and"
    assert end.partition("): ")[2] == (
        f"{folder} lacks {files}; connect to the internet once, or copy its files to this machine"
        f" and name {instead}"
    )


def test_the_files_of_open_clip_go_by_its_own_names() -> None:
    from open_clip import constants

    assert (SAFE, UNSAFE) == (constants.HF_SAFE_WEIGHTS_NAME, constants.HF_WEIGHTS_NAME)
