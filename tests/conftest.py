"""What many tests share: the data at hand, indexes with the fake model, files that say little."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker of pytest-xdist has one core

import pytest
from fakes import fake_model

import mmsearch
from mmsearch.engine import fingerprint

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The photos, sounds and captions that some tests need."""
    folder = Path(os.environ.get("MMSEARCH_DATA", ROOT.parent / "shared/data"))
    if not folder.is_dir():
        pytest.skip(f"needs data: {folder} is not there (MMSEARCH_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What may be made again is not kept in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files written a moment ago count as old, so that their times alone decide."""
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", -(10**18))


@pytest.fixture
def make_index(tmp_path: Path) -> Iterator[Callable[..., mmsearch.Index]]:
    """Make indexes with the fake model; they are closed at the end."""
    made: list[mmsearch.Index] = []

    def make(name: str = "index", **options: Any) -> mmsearch.Index:
        made.append(mmsearch.create(tmp_path / name, model=fake_model(), **options))
        return made[-1]

    yield make
    for index in made:
        index.close()


@pytest.fixture
def index(make_index: Callable[..., mmsearch.Index]) -> mmsearch.Index:
    return make_index()
