"""A folder of files that mean harm is indexed around, each with its reason."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes import fake_model
from media import picture, sound, text

import mmsearch
from mmsearch import Index, Report


def bomb(path: Path) -> None:
    """A PNG that claims 100,000 x 100,000 pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


def deep_file(folder: Path) -> str:
    """A picture under a path of nearly 4,000 bytes, made piece by piece."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        while len(os.getcwdb()) < 3850:
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
        picture(Path("deep.png"), "red")
        return os.path.join(os.getcwd(), "deep.png")
    finally:
        os.chdir(here)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "h"
    picture(folder / "good.png", "green")
    sound(folder / "good.wav", "low")
    text(folder / "good.txt", "sober")
    (folder / "empty.png").touch()
    (folder / "empty.wav").touch()
    (folder / "empty.txt").touch()
    image = picture(folder / "cut.png", "red", side=200).read_bytes()
    (folder / "cut.png").write_bytes(image[: len(image) // 2])
    wave = sound(folder / "cut.wav", "high", seconds=3).read_bytes()
    (folder / "cut.wav").write_bytes(wave[:30])
    picture(folder / "wrong.png").rename(folder / "wrong.wav")
    text(folder / "wrong.jpg", "words")
    bomb(folder / "bomb.png")
    soundfile.write(folder / "one.wav", np.zeros(1, np.float32), 16_000)
    soundfile.write(folder / "nan.wav", np.full(999, np.nan, np.float32), 16_000, subtype="FLOAT")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.wav")
    (folder / "broken.png").symlink_to(folder / "absent.png")
    (folder / "loop").symlink_to(folder)
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "unreadable.png").symlink_to("/proc/self/mem")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 4)
    text(folder / "line.txt", "x" * 300_000)
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.txt"), "w") as file:
        file.write("unusual")
    return folder


@pytest.fixture(scope="module")
def deep(hostile: Path) -> str:
    return deep_file(hostile)


@pytest.fixture(scope="module")
def run(hostile: Path, deep: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, Report]:
    index = mmsearch.create(tmp_path_factory.mktemp("i") / "index", model=fake_model())
    return index, index.add(hostile)


BAD = (
    "empty.png empty.wav empty.txt cut.png cut.wav wrong.wav wrong.jpg bomb.png nan.wav pipe.wav "
    "broken.png self.png unreadable.png binary.txt"
).split()


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_is_reported_with_its_reason(run: tuple[Index, Report], name: str) -> None:
    reasons = [f.reason for f in run[1].failures if os.path.basename(f.source) == name]
    assert len(reasons) == 1
    assert len(reasons[0]) > 5
    assert reasons[0].isprintable()


def test_nothing_else_failed(run: tuple[Index, Report]) -> None:
    assert {os.path.basename(failure.source) for failure in run[1].failures} == set(BAD)


@pytest.mark.parametrize(
    ("query", "target", "name"),
    [
        ("green", "image", "good.png"),
        ("low", "audio", "good.wav"),
        ("sober", "text", "good.txt"),
        ("unusual", "text", os.fsdecode(b"caf\xe9.txt")),
        ("red", "image", "deep.png"),
    ],
)
def test_good_neighbours_are_found(
    run: tuple[Index, Report], query: str, target: str, name: str
) -> None:
    assert run[0].search(query, target=target)[0].item.path.name == name


def test_odd_but_sound_files_are_indexed_once(run: tuple[Index, Report], deep: str) -> None:
    index = run[0]
    assert index.get(deep) is not None
    names = [hit.item.path.name for hit in index.search("x", k=1000)]
    assert sorted(names).count("good.png") == 1
    assert {"one.wav", "line.txt"} <= set(names)
    assert len(names) == 7


def test_the_second_run_says_the_same(run: tuple[Index, Report], hostile: Path) -> None:
    index, first = run
    second = index.add(hostile)
    assert (second.indexed, second.unchanged) == (0, 7)
    assert {f.source for f in second.failures} == {f.source for f in first.failures}
    assert second.vanished == []


def test_a_sound_cut_in_the_middle_keeps_what_is_there(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.flac", "high", seconds=30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with mmsearch.create(tmp_path / "i", model=fake_model()) as index:
        report = index.add(path)
        assert (report.added, len(report.failures)) == (1, 1)
        hit = index.search("high", target="audio")[0]
        assert hit.signals["cosine"] == pytest.approx(1, abs=1e-3)
