"""Decoding sounds: windows by their samples, every format, and hostile files."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode import decode_part
from mmsearch.decode.audio import decode_sound, windows
from mmsearch.errors import DecodeError
from mmsearch.records import Chunk, FloatArray, Modality, Part, Sound

GUARD: Final = DecodeLimits()
LIMITS: Final = InputLimits()
READ_ONLY: Final = {"MPEG_LAYER_III"}  # libsndfile writes no MP3 into a WAV


def decode(path: Path, guard: DecodeLimits = GUARD) -> list[tuple[Chunk, Sound]]:
    return list(decode_sound(str(path), LIMITS, guard))


def reason(path: Path, guard: DecodeLimits = GUARD) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(path, guard)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def noise(seconds: float, rate: int = 8000, channels: int = 1) -> FloatArray:
    """(n, channels) float32, reproducible."""
    shape = (round(seconds * rate), channels)
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def save(path: Path, samples: NDArray[Any], rate: int = 8000, **options: Any) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


class TestWindows:
    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            (0.5, [(0, 0.5)]),
            (10, [(0, 10)]),
            (10.5, [(0, 10), (5, 10.5)]),
            (15, [(0, 10), (5, 15)]),
            (23, [(0, 10), (5, 15), (10, 20), (15, 23)]),
            (25, [(0, 10), (5, 15), (10, 20), (15, 25)]),
        ],
    )
    def test_they_start_every_5_seconds_as_long_as_they_add_something(
        self, tmp_path: Path, seconds: float, expected: list[tuple[float, float]]
    ) -> None:
        samples = noise(seconds)
        found = decode(save(tmp_path / "a.wav", samples, subtype="FLOAT"))
        assert [(chunk.start, chunk.end) for chunk, _ in found] == expected
        for (start, end), (_, sound) in zip(expected, found, strict=True):
            assert sound.sample_rate_hz == 8000
            assert sound.samples.dtype == np.float32
            assert np.array_equal(
                sound.samples, samples[round(start * 8000) : round(end * 8000), 0]
            )

    @given(
        sizes=st.lists(st.integers(1, 30), max_size=20),
        window=st.integers(1, 40),
        hop=st.integers(1, 50),
    )
    def test_they_cover_everything_and_each_adds_something(
        self, sizes: list[int], window: int, hop: int
    ) -> None:
        stream = np.arange(sum(sizes), dtype=np.float32)
        found = list(windows(np.split(stream, np.cumsum(sizes)[:-1]), window, hop))
        for start, samples in found:
            assert np.array_equal(samples, stream[start : start + len(samples)])
            assert len(samples) <= window
        assert all(len(samples) == window for _, samples in found[:-1])
        assert [start for start, _ in found] == [n * min(hop, window) for n in range(len(found))]
        ends = [start + len(samples) for start, samples in found]
        assert all(earlier < later for earlier, later in pairwise(ends))
        assert ends[-1:] == ([len(stream)] if sizes else [])

    def test_a_window_stays_as_it_is_while_later_ones_are_read(self, tmp_path: Path) -> None:
        stream = decode_sound(str(save(tmp_path / "a.wav", noise(30))), LIMITS, GUARD)
        _, first = next(stream)
        before = first.samples.copy()
        list(stream)
        assert np.array_equal(first.samples, before)

    def test_long_sounds_are_read_as_they_are_asked_for(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.wav", noise(3600, rate=1000), 1000, subtype="PCM_U8")
        stream = decode_sound(str(path), InputLimits(window_s=70, hop_s=35), GUARD)
        assert next(stream)[0] == Chunk(0, 70)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        with pytest.raises(DecodeError, match="damaged"):
            list(stream)

    def test_other_limits(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.wav", noise(4))
        found = decode_sound(str(path), InputLimits(window_s=2.0, hop_s=0.5), GUARD)
        assert [chunk.start for chunk, _ in found] == [0, 0.5, 1, 1.5, 2]


class TestSamples:
    def test_channels_are_averaged(self, tmp_path: Path) -> None:
        samples = noise(1, channels=3)
        ((_, sound),) = decode(save(tmp_path / "a.wav", samples, subtype="FLOAT"))
        assert np.allclose(sound.samples, samples.mean(axis=1), atol=1e-7)

    @pytest.mark.parametrize("rate", [1, 8000, 11_025, 44_100, 96_000, 655_350])
    def test_the_sample_rate_is_the_files(self, tmp_path: Path, rate: int) -> None:
        ((chunk, sound),) = decode(save(tmp_path / "a.wav", noise(3, rate), rate))
        assert sound.sample_rate_hz == rate
        assert chunk == Chunk(0, 3)

    @pytest.mark.parametrize(
        "subtype", sorted(set(soundfile.available_subtypes("WAV")) - READ_ONLY)
    )
    def test_every_subtype_of_wav(self, tmp_path: Path, subtype: str) -> None:
        tone = 0.5 * np.sin(np.arange(16_000) / 20)
        ((_, sound),) = decode(save(tmp_path / "a.wav", tone, subtype=subtype))
        assert abs(np.std(sound.samples) - np.std(tone)) < 0.05

    @pytest.mark.parametrize(
        "name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff", "a.au", "a.caf", "a.w64"]
    )
    def test_windows_are_stretches_of_the_whole(self, tmp_path: Path, name: str) -> None:
        opus = {"format": "OGG", "subtype": "OPUS"}
        options: dict[str, Any] = opus if name == "a.opus" else {}
        path = save(tmp_path / name, noise(12, channels=2), **options)
        whole, rate = soundfile.read(path, dtype="float32")
        found = decode(path)
        assert [round(chunk.start or 0) for chunk, _ in found] == [0, 5]
        for chunk, sound in found:
            assert chunk.start is not None and chunk.end is not None
            stretch = whole[round(chunk.start * rate) : round(chunk.end * rate)]
            assert np.allclose(sound.samples, stretch.mean(axis=1), atol=1e-7)

    @pytest.mark.parametrize(
        "name",
        ["AVR", "HTK", "IRCAM", "NIST", "PAF", "PVF", "RF64", "SDS", "SVX", "VOC", "WVE", "XI"],
    )
    def test_rare_formats(self, tmp_path: Path, name: str) -> None:
        ((chunk, sound),) = decode(save(tmp_path / "sound", noise(1), format=name))
        assert chunk.start == 0
        assert 0.1 < np.std(sound.samples) < 0.5

    def test_one_sample(self, tmp_path: Path) -> None:
        ((chunk, sound),) = decode(save(tmp_path / "a.wav", np.array([0.5])))
        assert chunk == Chunk(0, 1 / 8000)
        assert sound.samples.tolist() == [0.5]


class TestHostileFiles:
    def test_no_samples(self, tmp_path: Path) -> None:
        assert reason(save(tmp_path / "a.wav", noise(0))) == "it holds no samples"

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
    def test_samples_that_are_not_finite(self, tmp_path: Path, value: float) -> None:
        samples = noise(12, channels=2)
        samples[-1] = value  # in the last window; the mean of the largest ones overflows
        path = save(tmp_path / "a.wav", samples, subtype="FLOAT")
        assert reason(path) == "it holds samples that are not finite numbers"

    def test_empty_missing_and_not_a_sound(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        assert reason(path) == "No such file or directory"
        path.touch()
        assert reason(path).startswith("not a sound, or damaged: ")
        path.write_text("just a text\n" * 100)
        assert reason(path) == "not a sound, or damaged: Format not recognised"
        assert reason(tmp_path) == "not a regular file"

    def test_content_counts_not_the_suffix(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.mp3", noise(1), format="FLAC")
        assert decode(path)[0][0] == Chunk(0, 1)

    def test_headerless_formats_are_not_guessed_from_the_suffix(self, tmp_path: Path) -> None:
        (tmp_path / "a.vox").write_bytes(bytes(1000))
        assert reason(tmp_path / "a.vox") == "not a sound, or damaged: Format not recognised"

    def test_truncated(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.flac", noise(12))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "damaged" in reason(path)

    def test_an_mp3_may_have_a_large_tag_and_no_length(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.mp3", noise(3), bitrate_mode="CONSTANT")
        data = path.read_bytes()
        for mark in (b"Xing", b"Info"):  # the header with the length
            data = data.replace(mark, b"\0\0\0\0")
        tag = b"ID3\x03\0\0" + bytes([0, 0, 100, 0]) + bytes(100 * 128)  # 4 x 7 bits of size
        path.write_bytes(tag + data)
        assert soundfile.info(path).duration > 3.5
        ((chunk, _),) = decode(path)
        assert chunk.end == pytest.approx(3, abs=0.3)

    def test_damaged_in_the_middle(self, tmp_path: Path) -> None:
        for name in ("a.ogg", "a.flac"):
            path = save(tmp_path / name, noise(30))
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0xFF
            path.write_bytes(data)
            assert "damaged" in reason(path), name

    def test_a_wav_header_that_lies(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.wav", noise(1))
        data = bytearray(path.read_bytes())
        for size, samples in ((2**32 - 1, 8000), (20_000, 8000), (1000, 500)):
            data[40:44] = size.to_bytes(4, "little")
            path.write_bytes(data)
            ((_, sound),) = decode(path)
            assert len(sound.samples) == samples  # what is there, and no more than it says

    @pytest.mark.parametrize(("length", "whole"), [(0, True), (2**36 - 1, False)])
    def test_a_flac_header_without_or_with_a_wrong_length(
        self, tmp_path: Path, length: int, whole: bool
    ) -> None:
        path = save(tmp_path / "a.flac", noise(2))
        data = bytearray(path.read_bytes())
        data[21] = data[21] & 0xF0 | length >> 32  # STREAMINFO: 36 bits of samples, 0 if unknown
        data[22:26] = (length & 0xFFFFFFFF).to_bytes(4, "big")
        path.write_bytes(data)
        if whole:
            assert decode(path)[0][0] == Chunk(0, 2)
        else:
            assert reason(path) == "damaged: 2.00 s of 8589934.59 s are there"

    def test_too_long(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.wav", noise(12))
        assert reason(path, DecodeLimits(sound_s=11.9)) == "longer than 11.9 s"
        assert len(decode(path, DecodeLimits(sound_s=12))) == 2

    def test_a_sample_rate_that_would_take_all_memory(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.wav", noise(1), 2**31 - 1)
        assert reason(path) == "a sample rate of 2147483647 Hz (at most 1000000)"

    @pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.aiff"])
    def test_damage_is_an_error_or_a_sound(self, tmp_path: Path, name: str) -> None:
        data = save(tmp_path / name, noise(1)).read_bytes()
        random = np.random.default_rng(1)
        for _ in range(30):
            damaged = np.frombuffer(data, np.uint8).copy()
            places = random.integers(0, min(len(data), random.choice([60, 10**9])), 4)
            damaged[places] = random.integers(0, 256, 4)
            cut = random.integers(1, 2 * len(data))
            (tmp_path / "damaged").write_bytes(damaged.tobytes()[:cut])
            try:
                assert all(len(sound.samples) for _, sound in decode(tmp_path / "damaged"))
            except DecodeError as error:
                assert str(error).isprintable()

    def test_a_noisy_mp3_can_be_made_quiet(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.mp3", noise(12))
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
        path.write_bytes(data)
        script = """if True:
            import sys
            from mmsearch.config import DecodeLimits, InputLimits
            from mmsearch.decode import quiet_native_libraries
            from mmsearch.decode.audio import decode_sound
            from mmsearch.errors import DecodeError
            with quiet_native_libraries():
                try:
                    list(decode_sound(sys.argv[1], InputLimits(), DecodeLimits()))
                except DecodeError as error:
                    print(error, file=sys.stderr)
            """
        command = [sys.executable, "-c", script, str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{path}: ")


def test_part_can_be_decoded_again_and_by_many_threads(tmp_path: Path) -> None:
    paths = [save(tmp_path / name, noise(12)) for name in ("a.wav", "a.flac", "a.ogg", "a.mp3")]

    def total(path: Path) -> float:
        part = Part("file", Modality.AUDIO, str(path))
        decoded = [one for _, one in decode_part(part, LIMITS, lambda text: True)]
        assert len(decoded) == 2
        return sum(float(one.samples.sum()) for one in decoded if isinstance(one, Sound))

    expected = [total(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(total, paths * 5)) == expected * 5
