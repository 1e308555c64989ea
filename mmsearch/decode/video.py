"""Videos: the frames where something new is to be seen, and the sound track."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode.audio import cut, limited
from mmsearch.decode.files import open_regular
from mmsearch.errors import DecodeError, one_line
from mmsearch.records import Chunk, FloatArray, Sound

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

SHORTEST_S: Final = 1.0
"""Between two frames, however much happens."""

LONGEST_S: Final = 10.0
"""Between two frames, however little happens."""

NEW: Final = 0.1
"""Mean difference of two small grey frames, 0 to 1, from which they show different things."""

_GLANCE_PX: Final = 32


def decode_frames(
    path: str, guard: DecodeLimits, min_side: int | None = None
) -> Iterator[tuple[Chunk, Image.Image]]:
    """Decode a frame of each scene, and one every ten seconds at least; memory holds two.

    Args:
        path: The file.
        guard: What is refused as too large.
        min_side: Shrink frames, as long as their shorter side keeps this many pixels.

    Yields:
        RGB images, each with the seconds from it to the next; nothing of a file without pictures.

    Raises:
        DecodeError: The file is no video or damaged; possibly only after the first frames.
    """
    with _opened(path) as container:
        end, waiting = 0.0, None
        for start, frame in _scenes(container, guard):
            if waiting:
                yield Chunk(waiting[0], start), waiting[1]
            end, waiting = start, (start, _picture(frame, min_side))
        if waiting:
            length = (container.duration or 0) / 1e6
            yield Chunk(waiting[0], max(length, end)), waiting[1]


def frame_at(path: str, seconds: float, guard: DecodeLimits) -> Image.Image:
    """The first frame that is shown at a time or later, as an RGB image.

    Raises:
        DecodeError: The file is no video, is damaged, or ends before.
    """
    with _opened(path) as container:
        for time, frame in _frames(container, guard, seconds):
            if time > seconds - 1e-3:
                return _picture(frame, None)
        raise DecodeError(f"no picture at {seconds:.1f} s")


def decode_track(
    path: str, limits: InputLimits, guard: DecodeLimits
) -> Iterator[tuple[Chunk, Sound]]:
    """Read a sound track window by window; memory holds one window.

    Yields:
        Windows with their start and end in seconds; nothing of a silent film.

    Raises:
        DecodeError: The file is no video or sound, is damaged, or too long; possibly only after
            the first windows.
    """
    with _opened(path) as container:
        rate_hz, blocks = _track(container, 0.0)
        yield from cut(limited(blocks, rate_hz, guard), rate_hz, limits)


def read_track(path: str, start_s: float, length_s: float) -> Sound:
    """A stretch of a sound track, mono; shorter where the track ends.

    Raises:
        DecodeError: The file is no video or sound, or is damaged.
    """
    with _opened(path) as container:
        rate_hz, blocks = _track(container, start_s)
        wanted, found = round(length_s * rate_hz), [np.empty(0, np.float32)]
        for block in blocks:
            found.append(block)
            if sum(map(len, found)) >= wanted:
                break
        return Sound(np.concatenate(found)[:wanted], rate_hz)


@contextmanager
def _opened(path: str) -> "Iterator[InputContainer]":
    """A file as FFmpeg reads it; its errors, and ours, say which file it is."""
    import av

    with open_regular(path) as file:
        try:
            # No protocol is allowed: a playlist would open other files, and addresses.
            options = {"protocol_whitelist": "none"}
            with av.open(file, "r", options=options, metadata_errors="replace") as container:
                if not (container.streams.video or container.streams.audio):
                    raise DecodeError("it holds neither pictures nor sound")
                yield container
        except DecodeError as error:
            raise DecodeError(f"{one_line(path)}: {error}") from None
        except (av.FFmpegError, OSError) as error:
            reason = one_line(error.strerror or str(error))
            raise DecodeError(f"{one_line(path)}: not a video, or damaged: {reason}") from None


def _scenes(
    container: "InputContainer", guard: DecodeLimits
) -> "Iterator[tuple[float, VideoFrame]]":
    """The frames that differ from the one before them, or come long after it; and their times."""
    last_s, last = -LONGEST_S, None
    for time, frame in _frames(container, guard, 0.0):
        if time - last_s < SHORTEST_S:
            continue
        glance = _glance(frame)
        if last is None or time - last_s >= LONGEST_S or np.abs(glance - last).mean() > NEW:
            last_s, last = time, glance
            yield time, frame


def _frames(
    container: "InputContainer", guard: DecodeLimits, start_s: float
) -> "Iterator[tuple[float, VideoFrame]]":
    """Frames with their seconds, from a key frame at or before ``start_s``.

    Frames on which no other depends are left out: half of the work, at the same scenes.
    """
    stream: Any = container.streams.best("video")
    if stream is None:
        return
    if stream.codec_context is None:
        raise DecodeError("its pictures are coded in a way that FFmpeg does not know")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > guard.image_pixels:
        raise DecodeError(
            f"{width:,} x {height:,} pixels are more than the limit of {guard.image_pixels:,}"
        )
    stream.codec_context.skip_frame = "NONREF"
    first_s = _seek(container, start_s)
    for frame in container.decode(stream):
        if frame.time is not None:
            yield max(frame.time - first_s, 0.0), frame


def _track(container: "InputContainer", start_s: float) -> tuple[int, Iterator[FloatArray]]:
    """The rate of a sound track, and its samples from a time on, mono: (n,) float32 arrays."""
    stream: Any = container.streams.best("audio")
    if stream is None:
        return 1, iter(())
    return int(stream.rate), _samples(container, stream, start_s)


def _samples(container: "InputContainer", stream: Any, start_s: float) -> Iterator[FloatArray]:
    import av

    as_floats = av.AudioResampler(format="fltp")
    first_s = _seek(container, start_s)
    for frame in container.decode(stream):
        late = round((start_s + first_s - (frame.time or 0.0)) * stream.rate)
        for floats in as_floats.resample(frame):
            mono: FloatArray = floats.to_ndarray().mean(axis=0, dtype=np.float32)
            if late < len(mono):
                yield mono[max(late, 0) :] if start_s else mono


def _seek(container: "InputContainer", seconds: float) -> float:
    """Go to a time, or a little before; returns the time at which the file starts."""
    first_s = (container.start_time or 0) / 1e6
    if seconds:
        container.seek(round((first_s + seconds) * 1e6))
    return first_s


def _glance(frame: "VideoFrame") -> FloatArray:
    small = frame.reformat(_GLANCE_PX, _GLANCE_PX, "gray", interpolation="AREA").to_ndarray()
    return small.astype(np.float32) / np.float32(255)


def _picture(frame: "VideoFrame", min_side: int | None) -> Image.Image:
    """A frame as an RGB image, upright."""
    scale = min(1.0, (min_side or 1e9) / min(frame.width, frame.height))
    width, height = (max(round(side * scale), 1) for side in (frame.width, frame.height))
    small = frame.reformat(width, height, "rgb24", interpolation="AREA")
    image = Image.fromarray(small.to_ndarray())
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image
