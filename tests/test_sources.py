"""Files and folders as sources: what is found, in which order, and what is survived."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import soundfile
from PIL import Image

from mmsearch.config import InputLimits
from mmsearch.decode import decode_part
from mmsearch.decode.image import FORMATS
from mmsearch.errors import UsageError
from mmsearch.records import Failure, Item, Modality
from mmsearch.sources import (
    AUDIO_SUFFIXES,
    IMAGE_SUFFIXES,
    MANIFEST_SUFFIXES,
    TEXT_SUFFIXES,
    TRACK_SUFFIXES,
    VIDEO_SUFFIXES,
    Found,
    Ignored,
    find_items,
    modalities_of,
)

NOT_PICTURES: Final = {
    "BUFR": "a stub",
    "EPS": "runs Ghostscript",
    "FITS": "science arrays",
    "GRIB": "a stub",
    "HDF5": "a stub",
    "IM": "deprecated in Pillow 13",
    "IMT": "has no suffix",
    "IPTC": "metadata",
    "MCIDAS": "has no suffix",
    "MPEG": "a video",
    "SPIDER": "has no suffix",
    "WMF": "a vector format",
    "XVTHUMB": "has no suffix",
}
SOUND_SUFFIXES: Final = {
    "AIFF": ".aiff",
    "AU": ".au",
    "AVR": ".avr",
    "CAF": ".caf",
    "FLAC": ".flac",
    "HTK": ".htk",
    "IRCAM": ".ircam",
    "MP3": ".mp3",
    "NIST": ".nist",
    "OGG": ".ogg",
    "PAF": ".paf",
    "PVF": ".pvf",
    "RF64": ".rf64",
    "SDS": ".sds",
    "SVX": ".svx",
    "VOC": ".voc",
    "W64": ".w64",
    "WAV": ".wav",
    "WAVEX": ".wav",
    "WVE": ".wve",
    "XI": ".xi",
}
NOT_SOUNDS: Final = {
    "MAT4": "a file of matrices",
    "MAT5": "a file of matrices",
    "MPC2K": "its suffix is Musepack's",
    "RAW": "has no header",
    "SD2": "needs a resource fork",
}


def names(found: Iterator[Found], root: Path) -> list[str]:
    return [os.path.relpath(one.source, root) for one in found if isinstance(one, Item)]


def failures(found: Iterator[Found]) -> dict[str, str]:
    return {os.path.basename(one.source): one.reason for one in found if isinstance(one, Failure)}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


class TestModalityOf:
    def test_each_suffix_has_one_meaning(self) -> None:
        tables = [TEXT_SUFFIXES, IMAGE_SUFFIXES, AUDIO_SUFFIXES, TRACK_SUFFIXES, VIDEO_SUFFIXES]
        tables.append(MANIFEST_SUFFIXES)
        assert len(frozenset().union(*tables)) == sum(map(len, tables))

    def test_case_does_not_count(self) -> None:
        assert modalities_of("/a/B.JPG") == (Modality.IMAGE,)
        assert modalities_of(Path("x.Wav")) == (Modality.AUDIO,)
        assert modalities_of("notes.MD") == (Modality.TEXT,)
        assert modalities_of("a.Mp4") == (Modality.IMAGE, Modality.AUDIO)

    @pytest.mark.parametrize("name", ["a.pdf", "a", ".txt", "a.jpg~", "a.csv", "a.ts", ""])
    def test_other_types_have_none(self, name: str) -> None:
        assert modalities_of(name) == ()

    def test_the_image_table_is_what_pillow_registers(self) -> None:
        registered = {
            suffix
            for suffix, name in Image.registered_extensions().items()
            if name in Image.OPEN and name not in NOT_PICTURES
        }
        assert registered == IMAGE_SUFFIXES
        assert set(Image.OPEN) - set(NOT_PICTURES) == set(FORMATS)

    def test_every_format_of_libsndfile_has_a_suffix_or_a_reason(self) -> None:
        formats = set(soundfile.available_formats())
        assert formats == set(SOUND_SUFFIXES) | set(NOT_SOUNDS)
        assert set(SOUND_SUFFIXES.values()) <= AUDIO_SUFFIXES

    def test_the_tables_need_no_decoder(self) -> None:
        check = "import mmsearch.sources, sys; print({'PIL', 'soundfile', 'av'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
        assert done.stdout == "set()\n"


class TestFolders:
    def test_items_are_whole_files_under_absolute_paths(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touch(tmp_path / "in" / "a.png")
        monkeypatch.chdir(tmp_path)
        (item,) = find_items(["in"])
        assert isinstance(item, Item)
        assert item.source == str(tmp_path / "in" / "a.png")
        assert (item.row, dict(item.columns)) == (None, {})
        (part,) = item.parts
        assert (part.role, part.modality, part.path) == ("file", Modality.IMAGE, item.source)

    def test_order_is_that_of_names_files_before_subfolders(self, tmp_path: Path) -> None:
        paths = ["b.txt", "a.txt", "c/z.txt", "c/a/x.txt", "Z.txt", "aa/0.wav"]
        touch(*(tmp_path / path for path in paths))
        expected = ["Z.txt", "a.txt", "b.txt", "aa/0.wav", "c/z.txt", "c/a/x.txt"]
        assert names(find_items([tmp_path]), tmp_path) == expected
        assert names(find_items([tmp_path]), tmp_path) == expected

    def test_hidden_entries_are_skipped_unless_named(self, tmp_path: Path) -> None:
        touch(tmp_path / ".a.txt", tmp_path / ".git" / "b.txt", tmp_path / "c.txt")
        assert names(find_items([tmp_path]), tmp_path) == ["c.txt"]
        assert names(find_items([tmp_path / ".git"]), tmp_path) == [".git/b.txt"]
        assert names(find_items([tmp_path / ".a.txt"]), tmp_path) == [".a.txt"]

    def test_unknown_types_are_ignored_by_suffix(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.PDF", tmp_path / "b", tmp_path / "rows.csv", tmp_path / "c.md")
        ignored = [one for one in find_items([tmp_path]) if isinstance(one, Ignored)]
        assert [one.suffix for one in ignored] == [".pdf", "", ".csv"]
        assert ignored[0].source == str(tmp_path / "a.PDF")

    def test_every_item_comes_once(self, tmp_path: Path) -> None:
        touch(tmp_path / "a" / "b" / "x.txt", tmp_path / "a" / "y.txt")
        paths = [tmp_path / "a" / "b", tmp_path / "a", tmp_path / "a/y.txt", tmp_path / "a/y.txt"]
        assert names(find_items(paths), tmp_path) == ["a/b/x.txt", "a/y.txt"]

    def test_home_is_expanded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touch(tmp_path / "a.txt")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert names(find_items(["~"]), tmp_path) == ["a.txt"]

    def test_items_stream(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.txt", tmp_path / "z" / "b.txt")
        found = find_items([tmp_path])
        next(found)
        touch(tmp_path / "z" / "c.txt")
        assert names(found, tmp_path) == ["z/b.txt", "z/c.txt"]


class TestLinks:
    def test_a_loop_ends(self, tmp_path: Path) -> None:
        touch(tmp_path / "a" / "x.txt")
        (tmp_path / "a" / "up").symlink_to(tmp_path)
        (tmp_path / "a" / "self").symlink_to("self")
        found = list(find_items([tmp_path]))
        assert names(iter(found), tmp_path) == ["a/x.txt"]
        assert list(failures(iter(found))) == ["self"]

    def test_a_linked_folder_is_followed(self, tmp_path: Path) -> None:
        touch(tmp_path / "outside" / "deep" / "x.txt", tmp_path / "in" / "y.txt")
        (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
        assert names(find_items([tmp_path / "in"]), tmp_path) == ["in/y.txt", "in/link/deep/x.txt"]

    def test_a_folder_goes_by_its_real_path_if_it_has_one_here(self, tmp_path: Path) -> None:
        touch(tmp_path / "z" / "real" / "x.txt", tmp_path / "b.txt")
        (tmp_path / "a").symlink_to(tmp_path / "z" / "real")
        assert names(find_items([tmp_path]), tmp_path) == ["b.txt", "z/real/x.txt"]

    def test_folders_that_all_link_to_each_other_end(self, tmp_path: Path) -> None:
        folders = [tmp_path / str(number) for number in range(12)]
        for folder in folders:
            touch(folder / "x.txt")
            for other in folders:
                (folder / f"to{other.name}").symlink_to(other)
        assert len(names(find_items([folders[0]]), tmp_path)) == len(folders)

    def test_a_linked_file_is_an_item_of_its_own_name(self, tmp_path: Path) -> None:
        touch(tmp_path / "real.txt")
        (tmp_path / "link.txt").symlink_to("real.txt")
        assert names(find_items([tmp_path]), tmp_path) == ["link.txt", "real.txt"]

    def test_a_broken_link_is_a_failure(self, tmp_path: Path) -> None:
        (tmp_path / "gone.txt").symlink_to("nowhere.txt")
        assert failures(find_items([tmp_path])) == {
            "gone.txt": "broken link: No such file or directory"
        }


class TestNamedFiles:
    def test_a_file_of_unknown_type_is_a_failure_with_what_would_work(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.pdf", tmp_path / "b")
        reasons = failures(find_items([tmp_path / "a.pdf", tmp_path / "b"]))
        assert reasons["a.pdf"].startswith("files of type .pdf are not indexed (only .txt .md .jpg")
        assert reasons["b"].startswith("files without a suffix are not indexed")

    def test_all_paths_are_checked_before_anything_is_read(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.txt")
        with pytest.raises(UsageError, match=r"/gone: no such file or folder$"):
            find_items([tmp_path / "a.txt", tmp_path / "gone"])

    def test_a_broken_link_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "link.txt").symlink_to("nowhere")
        with pytest.raises(UsageError, match=r"link.txt: a broken link$"):
            find_items([tmp_path / "link.txt"])

    @pytest.mark.parametrize("path", ["a\0b", "x" * 300, "x/" * 3000])
    def test_an_impossible_path_is_refused_in_one_line(self, path: str) -> None:
        with pytest.raises(UsageError) as caught:
            find_items([path])
        assert str(caught.value).isprintable()

    def test_nothing_named_is_nothing_found(self) -> None:
        assert list(find_items([])) == []


class TestHostileFolders:
    def test_names_that_are_not_utf8(self, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path) + b"/caf\xe9"
        os.mkdir(folder)
        for name in (b"\xff\xfe.txt", b"two\nlines.txt", "é.txt".encode()):
            with open(folder + b"/" + name, "wb"):
                pass
        found = [one for one in find_items([tmp_path]) if isinstance(one, Item)]
        assert {os.path.basename(os.fsencode(one.source)) for one in found} == {
            b"\xff\xfe.txt",
            b"two\nlines.txt",
            "é.txt".encode(),
        }
        assert all(len(one.key) == 32 for one in found)
        assert names(find_items([folder]), tmp_path) == names(find_items([tmp_path]), tmp_path)  # type: ignore[list-item]

    def test_a_path_of_4000_bytes(self, tmp_path: Path) -> None:
        path = str(tmp_path)
        while len(path) < 3700:
            path += "/" + "d" * 200
        path += "/" + "d" * (4000 - len(path) - len("//a.txt"))
        with inside_deep_folder(path):
            Path("a.txt").write_text("deep")
        (item,) = find_items([tmp_path])
        assert isinstance(item, Item)
        assert len(os.fsencode(item.source)) == 4000
        ((_, text),) = decode_part(item.parts[0], InputLimits(), lambda passage: True)
        assert text == "deep"

    def test_deeper_than_any_path_can_say(self, tmp_path: Path) -> None:
        path = f"{tmp_path}/a" + f"/{'b' * 200}" * 30
        with inside_deep_folder(path):
            touch(Path("x.txt"))
        touch(tmp_path / "y.txt")
        found = list(find_items([tmp_path]))
        assert names(iter(found), tmp_path) == ["y.txt"]
        (failure,) = (one for one in found if isinstance(one, Failure))
        assert failure.reason == "File name too long"

    def test_special_files_are_never_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.txt")
        (tmp_path / "link.jpg").symlink_to("pipe.txt")
        with socket.socket(socket.AF_UNIX) as server, changed_to(tmp_path):
            server.bind("socket.wav")
            reasons = failures(find_items([tmp_path]))
        assert reasons == dict.fromkeys(
            ["link.jpg", "pipe.txt", "socket.wav"], "not a regular file"
        )
        assert failures(find_items([tmp_path / "pipe.txt"])) == {"pipe.txt": "not a regular file"}

    def test_an_unreadable_folder_is_a_failure_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        touch(tmp_path / "a" / "x.txt", tmp_path / "b" / "y.txt")
        (tmp_path / "a").chmod(0)
        try:
            if os.access(tmp_path / "a", os.R_OK):
                pytest.skip("this user may read everything")
            found = list(find_items([tmp_path]))
        finally:
            (tmp_path / "a").chmod(0o700)
        assert names(iter(found), tmp_path) == ["b/y.txt"]
        assert failures(iter(found)) == {"a": "Permission denied"}

    def test_a_folder_that_goes_away_meanwhile_is_a_failure(self, tmp_path: Path) -> None:
        touch(tmp_path / "x.txt")
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        found = find_items([tmp_path, tmp_path / "b"])
        next(found)
        (tmp_path / "a").rmdir()
        assert failures(found) == {"a": "No such file or directory"}


@contextmanager
def changed_to(folder: Path) -> Iterator[None]:
    """A socket's path may have 108 bytes at most: bind it by its name."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def inside_deep_folder(path: str) -> Iterator[None]:
    """Make a folder whose path may be too long to name, and go there step by step."""
    before = os.getcwd()
    try:
        os.chdir("/")
        for name in path.strip("/").split("/"):
            if not os.path.isdir(name):
                os.mkdir(name)
            os.chdir(name)
        yield
    finally:
        os.chdir(before)
