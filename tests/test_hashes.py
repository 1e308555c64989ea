"""Hashes of large files are kept, and made anew when the file is another."""

import hashlib
import os
from pathlib import Path

import pytest

from mmsearch.encode import hashes
from mmsearch.encode.hashes import file_sha256


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, of which those above 10 bytes are large."""
    found: list[Path] = []
    read = hashes._hash

    def watched(path: Path) -> str:
        found.append(path)
        return read(path)

    monkeypatch.setattr(hashes, "_hash", watched)
    monkeypatch.setattr(hashes, "LARGE_BYTES", 10)
    monkeypatch.setattr(hashes, "SETTLED_NS", -(10**18))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_large_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"x" * 20)
    small.write_bytes(b"y")
    for _ in range(3):
        assert file_sha256(large) == sha256(b"x" * 20)
        assert file_sha256(small) == sha256(b"y")
    assert reads == [large, small, small, small]
    (tmp_path / "link").symlink_to(large)
    assert file_sha256(tmp_path / "link") == sha256(b"x" * 20)
    assert len(reads) == 4


def test_another_content_is_noticed_even_with_the_same_size_and_time(
    tmp_path: Path, reads: list[Path]
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"x" * 20)
    file_sha256(path)
    os.utime(path, ns=(1, 1))
    assert file_sha256(path) == sha256(b"x" * 20)
    path.write_bytes(b"z" * 20)
    assert file_sha256(path) == sha256(b"z" * 20)
    before = path.stat()
    (tmp_path / "new").write_bytes(b"w" * 20)
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").replace(path)
    assert file_sha256(path) == sha256(b"w" * 20)
    before = path.stat()
    with path.open("r+b") as file:  # in place, as rsync --inplace does
        file.write(b"v" * 20)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_sha256(path) == sha256(b"v" * 20)


def test_a_file_that_has_just_changed_is_not_kept(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED_NS", 2 * 10**9)
    path = tmp_path / "weights"
    path.write_bytes(b"x" * 20)
    file_sha256(path)
    file_sha256(path)
    assert reads == [path, path]


def test_a_cache_that_is_broken_or_out_of_reach_does_no_harm(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"x" * 20)
    file_sha256(path)
    (kept,) = (tmp_path / "cache/mmsearch/sha256").iterdir()
    for broken in ("", "{}", "[]", '{"of": 1, "sha256": "0"}'):
        kept.write_text(broken)
        assert file_sha256(path) == sha256(b"x" * 20)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert file_sha256(path) == sha256(b"x" * 20)
