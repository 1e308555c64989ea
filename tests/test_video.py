"""Videos: scenes and sound tracks, from a file to a hit that names the moment."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from media import COLOURS, PITCHES_HZ
from PIL import Image

import mmsearch
from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode.video import decode_frames, decode_track, frame_at, read_track
from mmsearch.errors import DecodeError, UsageError
from mmsearch.present.cards import card
from mmsearch.present.json_ import hits_to_json
from mmsearch.records import Chunk, Failure, FloatArray, Item, Modality
from mmsearch.sources import find_items

GUARD = DecodeLimits()
RATE_HZ, FPS = 16_000, 10
SIZE = (64, 48)
Scene = tuple[str, float]


def film(
    path: Path,
    scenes: Sequence[Scene] = (),
    pitches: Sequence[Scene] = (),
    rotation: int = 0,
) -> Path:
    """Write a video of colours, each for some seconds, with tones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        if scenes:
            pictures = container.add_stream("mpeg4", rate=FPS)
            pictures.width, pictures.height, pictures.pix_fmt = *SIZE, "yuv420p"
            if rotation:
                pictures.set_display_rotation(rotation)
        if pitches:
            sounds = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for colour, seconds in scenes:
            pixels = np.full((SIZE[1], SIZE[0], 3), COLOURS[colour], np.uint8)
            pixels[:, : SIZE[0] // 8] = 255  # a white edge on the left
            for _ in range(round(seconds * FPS)):
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels)))
        if scenes:
            container.mux(pictures.encode())
        tones = [
            np.sin(2 * np.pi * PITCHES_HZ[pitch] * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
            for pitch, seconds in pitches
        ]
        if pitches:
            samples = np.concatenate(tones).astype(np.float32)[None] / 2
            for at in range(0, samples.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(samples[:, at : at + 1024], "fltp", "mono")
                frame.sample_rate, frame.pts = RATE_HZ, at
                container.mux(sounds.encode(frame))
            container.mux(sounds.encode())
    return path


def colour_of(picture: Image.Image) -> str:
    middle = np.asarray(picture.getpixel((picture.width // 2, picture.height // 2)), int)
    return min(COLOURS, key=lambda name: int(np.abs(middle - COLOURS[name]).sum()))


def seconds(chunk: Chunk) -> tuple[float, float]:
    assert chunk.start is not None and chunk.end is not None
    return chunk.start, chunk.end


def pitch_of(samples: FloatArray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / len(samples))


def test_each_scene_has_a_frame_with_its_time(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [("red", 4), ("green", 3), ("blue", 5)])
    found = list(decode_frames(str(path), GUARD))
    assert [colour_of(picture) for _, picture in found] == ["red", "green", "blue"]
    times = [seconds(chunk) for chunk, _ in found]
    np.testing.assert_allclose(times, [(0, 4), (4, 7), (7, 12)], atol=1.5 / FPS)
    assert {picture.mode for _, picture in found} == {"RGB"}


def test_what_does_not_change_is_seen_every_ten_seconds(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [("red", 25)])
    starts = [seconds(chunk)[0] for chunk, _ in decode_frames(str(path), GUARD)]
    np.testing.assert_allclose(starts, [0, 10, 20], atol=0.5)


def test_what_changes_all_the_time_is_seen_once_a_second(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [("red", 0.3), ("green", 0.3)] * 10)
    starts = [seconds(chunk)[0] for chunk, _ in decode_frames(str(path), GUARD)]
    assert 3 <= len(starts) <= 6
    assert min(np.diff(starts)) >= 1


def test_frames_are_upright_and_no_larger_than_asked(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [("red", 1)], rotation=90)
    ((_, picture),) = decode_frames(str(path), GUARD, min_side=24)
    assert picture.size == (24, 32)
    white = [np.asarray(picture)[at].min() > 200 for at in ((0, 12), (-1, 12))]
    assert white == [False, True]  # turned to the left: what was on the left is below


def test_the_sound_track_comes_in_windows(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [("red", 6)], [("high", 3), ("low", 3)])
    limits = InputLimits(window_s=3, hop_s=3)
    found = list(decode_track(str(path), limits, GUARD))
    assert [sound.sample_rate_hz for _, sound in found[:2]] == [RATE_HZ, RATE_HZ]
    np.testing.assert_allclose([seconds(chunk) for chunk, _ in found[:2]], [(0, 3), (3, 6)])
    pitches = [pitch_of(sound.samples) for _, sound in found[:2]]
    np.testing.assert_allclose(pitches, [3000, 200], atol=2)
    assert np.abs(found[0][1].samples).max() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("start_s", [0.0, 1.7, 4.0])
def test_a_stretch_of_a_track_is_what_the_whole_has_there(tmp_path: Path, start_s: float) -> None:
    path = str(film(tmp_path / "a.mp4", [("red", 6)], [("high", 3), ("low", 3)]))
    ((_, whole),) = decode_track(path, InputLimits(window_s=60, hop_s=60), GUARD)
    found = read_track(path, start_s, 1.5).samples
    at = round(start_s * RATE_HZ)
    assert len(found) == 1.5 * RATE_HZ
    np.testing.assert_allclose(found, whole.samples[at : at + len(found)], atol=1e-3)


def test_a_frame_at_a_time(tmp_path: Path) -> None:
    path = str(film(tmp_path / "a.mp4", [("red", 4), ("green", 3)]))
    assert [colour_of(frame_at(path, s, GUARD)) for s in (0, 3.5, 4.5, 6.5)] == [
        "red",
        "red",
        "green",
        "green",
    ]
    with pytest.raises(DecodeError, match=r"a\.mp4: no picture at 60.0 s"):
        frame_at(path, 60, GUARD)


def test_a_silent_film_has_no_track_and_a_recording_no_frames(tmp_path: Path) -> None:
    silent = film(tmp_path / "a.mp4", [("red", 1)])
    blind = film(tmp_path / "b.mp4", (), [("high", 1)])
    assert list(decode_track(str(silent), InputLimits(), GUARD)) == []
    assert list(decode_frames(str(blind), GUARD)) == []


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("a dog on a beach" * 100)
    whole = film(tmp_path / "whole.mp4", [("red", 2)]).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("empty", "text", "cut", "gone"):
        for decode in (
            decode_frames(str(tmp_path / f"{name}.mp4"), GUARD),
            decode_track(str(tmp_path / f"{name}.mp4"), InputLimits(), GUARD),
        ):
            with pytest.raises(DecodeError, match=rf"^{tmp_path}/{name}\.mp4: "):
                list(decode)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    film(tmp_path / "other.mp4", [("red", 2)])
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2,", str(tmp_path / "other.mp4")]
    (tmp_path / "list.mp4").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    (tmp_path / "script.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'other.mp4'}\n")
    for name in ("list.mp4", "script.mp4"):
        with pytest.raises(DecodeError):
            list(decode_frames(str(tmp_path / name), GUARD))


def test_too_large_frames_are_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [("red", 1)])
    with pytest.raises(DecodeError, match=r"64 x 48 pixels are more than the limit of 100"):
        list(decode_frames(str(path), DecodeLimits(image_pixels=100)))


def test_damage_is_not_printed(tmp_path: Path) -> None:
    whole = bytearray(film(tmp_path / "a.avi", [("red", 4), ("green", 4)]).read_bytes())
    whole[3000:5000:7] = bytes(len(whole[3000:5000:7]))
    (tmp_path / "a.avi").write_bytes(whole)
    code = (
        "import sys; from mmsearch.config import DecodeLimits\n"
        "from mmsearch.decode.video import decode_frames\n"
        "try: list(decode_frames(sys.argv[1], DecodeLimits()))\n"
        "except Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.avi")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_rows_of_a_manifest_name_videos(tmp_path: Path) -> None:
    rows = ['{"video": "a.mp4"}', '{"path": "a.mov", "id": "m"}', '{"video": "a.jpg", "id": "w"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    first, second, wrong = find_items([tmp_path / "rows.jsonl"])
    assert isinstance(first, Item) and isinstance(second, Item)
    assert [part.modality for part in first.parts] == [Modality.IMAGE, Modality.AUDIO]
    assert [part.role for part in second.parts] == ["path", "path"]
    assert isinstance(wrong, Failure) and "no video" in wrong.reason


def test_a_hit_names_the_moment(tmp_path: Path, settled: None) -> None:
    film(tmp_path / "in/a.mp4", [("red", 4), ("blue", 4)], [("high", 4), ("low", 4)])
    film(tmp_path / "in/silent.mp4", [("green", 2)])
    with mmsearch.create(tmp_path / "index") as index:
        report = index.add(tmp_path / "in")
        assert (report.added, tuple(report.failures)) == (2, ())
        Image.new("RGB", SIZE, COLOURS["blue"]).save(tmp_path / "blue.png")
        hit = index.search(image=tmp_path / "blue.png", target="image", k=1)[0]
        assert (hit.item.name, hit.part.role, hit.part.modality) == ("a.mp4", "video", "image")
        assert hit.chunk.start == pytest.approx(4, abs=0.2)
        assert hit.chunk.end == pytest.approx(8, abs=0.2)
        shown = card(hit)
        assert shown.where == "4.0–8.0 s"
        assert shown.picture and shown.picture.uri.startswith("data:image/jpeg")
        assert '"unit": "seconds"' in hits_to_json({}, [hit])
        film(tmp_path / "low.m4a", (), [("low", 4)])
        heard = index.search(audio=tmp_path / "low.m4a", target="audio", k=1)[0]
        assert (heard.item.name, heard.part.modality) == ("a.mp4", "audio")
        assert card(heard).sound and card(heard).picture
        assert index.add(tmp_path / "in").unchanged == 2


def test_a_broken_video_is_one_failure(tmp_path: Path) -> None:
    (tmp_path / "util.mts").write_text("export const a: number = 1;")
    with mmsearch.create(tmp_path / "index") as index:
        report = index.add(tmp_path / "util.mts")
        assert [failure.source for failure in report.failures] == [str(tmp_path / "util.mts")]
        with pytest.raises(UsageError, match="a video has image and audio"):
            index.search("x", target="video")


def test_a_video_can_be_asked_with(tmp_path: Path) -> None:
    film(tmp_path / "in/green.mp4", [("green", 2)])
    film(tmp_path / "in/red.mp4", [("red", 2)])
    asked = film(tmp_path / "asked.mp4", [("red", 3)])
    with mmsearch.create(tmp_path / "index") as index:
        index.add(tmp_path / "in")
        assert index.search(image=asked, k=1)[0].item.name == "red.mp4"
        with pytest.raises(DecodeError, match=r"asked\.mp4: there is no audio in it"):
            index.search(audio=asked)


def test_one_damaged_packet_costs_its_own_frames(tmp_path: Path) -> None:
    scenes = [("red", 4.0), ("green", 4.0), ("blue", 4.0)]
    path = film(tmp_path / "a.mkv", scenes, [("high", 12)])
    with av.open(str(path)) as container:
        packets = [(p.pos or 0, p.size, p.stream.type) for p in container.demux() if p.size]
    whole = bytearray(path.read_bytes())
    for kind in ("video", "audio"):
        place, size, _ = [packet for packet in packets if packet[2] == kind][20]
        whole[place + 8 : place + size] = b"\xff" * (size - 8)
    path.write_bytes(whole)
    found = []
    with pytest.raises(DecodeError, match=r"a\.mkv: not a video, or damaged"):
        for _, picture in decode_frames(str(path), GUARD):
            found.append(colour_of(picture))  # noqa: PERF401
    assert found[0] == "red" and found[-1] == "blue"
    heard = 0.0
    with pytest.raises(DecodeError):
        for chunk, _ in decode_track(str(path), InputLimits(window_s=5, hop_s=5), GUARD):
            heard = seconds(chunk)[1]
    assert heard > 11


def test_sound_that_starts_late_keeps_its_seconds(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        sounds = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        pictures = container.add_stream("mpeg4", rate=FPS)
        pictures.width, pictures.height, pictures.pix_fmt = *SIZE, "yuv420p"
        for _ in range(8 * FPS):
            pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(pictures.encode())
        for start_s in (3, 6):
            tone = np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ) * 20_000
            frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], "s16", "mono")
            frame.sample_rate, frame.pts = RATE_HZ, start_s * RATE_HZ
            container.mux(sounds.encode(frame))
        container.mux(sounds.encode())
    limits = InputLimits(window_s=1, hop_s=1)
    loud = [np.abs(s.samples).mean() > 0.1 for _, s in decode_track(container.name, limits, GUARD)]
    assert loud == [False, False, False, True, False, False, True]
    assert np.abs(read_track(container.name, 6, 1).samples).mean() > 0.1
    assert np.abs(read_track(container.name, 4.2, 1).samples).mean() < 0.1


def test_films_put_together_are_seen_to_the_end(tmp_path: Path) -> None:
    one = film(tmp_path / "1.mpg", [("red", 3), ("green", 3)])
    two = film(tmp_path / "2.mpg", [("blue", 3), ("red", 3)])
    (tmp_path / "both.mpg").write_bytes(one.read_bytes() + two.read_bytes())
    found = list(decode_frames(str(tmp_path / "both.mpg"), GUARD))
    assert [colour_of(picture) for _, picture in found] == ["red", "green", "blue", "red"]
    starts = [seconds(chunk)[0] for chunk, _ in found]
    np.testing.assert_allclose(starts, [0, 3, 6, 9], atol=0.7)
