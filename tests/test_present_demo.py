"""The demo's material: the same on every call, real, and readable by the decoders."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode import decode_part
from mmsearch.errors import MMSearchError
from mmsearch.present.demo import demo_queries, write_demo_data
from mmsearch.present.demo.photos import EVERY_PHOTO
from mmsearch.present.demo.sounds import NAMES, make_sound
from mmsearch.records import Modality, Part
from mmsearch.sources.suffixes import modalities_of

needs_photos = pytest.mark.skipif(
    not (importlib.util.find_spec("skimage") and importlib.util.find_spec("sklearn")),
    reason="the demo extra is not installed",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo_data(folder)
    return folder


@needs_photos
def test_every_file_decodes_as_what_its_name_says(demo: Path) -> None:
    found = {modality: 0 for modality in (Modality.TEXT, Modality.IMAGE, Modality.AUDIO)}
    for path in demo.rglob("*.*"):
        for modality in modalities_of(path):
            part = Part("file", modality, str(path))
            assert list(decode_part(part, InputLimits(), lambda text: True, DecodeLimits()))
            found[modality] += 1
    assert found == {Modality.TEXT: 18, Modality.IMAGE: 16, Modality.AUDIO: 17}


@needs_photos
def test_the_manifest_names_a_picture_a_caption_and_a_sound(demo: Path) -> None:
    manifest = demo / "postcards/postcards.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["rocket", "temple", "dahlia"]
    for row in rows:
        assert row["caption"]
        assert (manifest.parent / row["image"]).exists()
        assert (manifest.parent / row["audio"]).exists()


@needs_photos
def test_the_queries_name_files_that_are_there_and_not_indexed(demo: Path) -> None:
    queries = demo_queries(demo)
    used = [
        Path(q.arguments[name])
        for q in queries
        for name in ("image", "audio")
        if name in q.arguments
    ]
    assert used and all(path.exists() and path.parent == demo / "queries" for path in used)
    assert {"text → image", "image → text", "audio → text"} <= {query.title for query in queries}


@needs_photos
def test_the_files_are_the_same_on_every_call(demo: Path, tmp_path: Path) -> None:
    assert all(source.exists() for source in write_demo_data(tmp_path))
    first = {path.relative_to(demo): path.read_bytes() for path in demo.rglob("*.*")}
    again = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert first == again


@needs_photos
def test_every_photograph_is_credited_with_its_licence(demo: Path) -> None:
    text = (demo / "CREDITS").read_text(encoding="utf-8")
    for photo in EVERY_PHOTO:
        assert f"{photo.name}: {photo.credit}, {photo.licence}" in text


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MMSearchError, match=r'pip install "mmsearch\[demo\]"'):
        write_demo_data(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


@needs_photos
def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(MMSearchError, match="cannot write the demo's file .*: File exists"):
        write_demo_data(tmp_path / "demo")


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_is_five_clean_seconds_and_its_takes_differ(name: str) -> None:
    sound = make_sound(name)
    assert len(sound.samples) == 5 * sound.sample_rate_hz
    assert sound.samples.dtype == np.float32
    assert np.max(np.abs(sound.samples)) == pytest.approx(0.7, abs=1e-3)
    assert not np.array_equal(sound.samples, make_sound(name, take=1).samples)
