"""Videos: the frames where something new is to be seen, and the sound track."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

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

T = TypeVar("T")
SHORTEST_S: Final = 1.0
"""Between two frames, however much happens."""

LONGEST_S: Final = 10.0
"""Between two frames, however little happens, unless the film itself has none in between."""

NEW: Final = 0.1
"""Mean difference of two small grey frames, 0 to 1, from which they show different things."""

GAP_S: Final = 0.1
"""Sound that starts later than this after the sound before it has silence in front of it."""

_GLANCE_PX: Final = 32


def decode_frames(
    path: str, guard: DecodeLimits, min_side: int | None = None
) -> Iterator[tuple[Chunk, Image.Image]]:
    """Decode a frame of each scene, and one every ten seconds; memory holds two.

    Args:
        path: The file.
        guard: What is refused as too large.
        min_side: Shrink frames, as long as their shorter side keeps this many pixels.

    Yields:
        RGB images, each with the seconds from it to the next; nothing of a file without pictures.

    Raises:
        DecodeError: The file is no video or damaged; after all frames that could be decoded.
    """
    with _opened(path) as container:
        frames = _Whole(_frames(container, guard, 0.0))
        end_s, waiting = 0.0, None
        for start, frame, is_new in _scenes(frames):
            end_s = start + float((frame.duration or 0) * (frame.time_base or 0))
            if is_new:
                if waiting:
                    yield Chunk(waiting[0], start), waiting[1]
                waiting = start, _picture(frame, min_side)
        if waiting:
            yield Chunk(waiting[0], end_s), waiting[1]
        frames.finish()


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
        DecodeError: The file is no video or sound, is damaged, or too long; after all windows that
            could be decoded.
    """
    with _opened(path) as container:
        rate_hz, blocks = _track(container, 0.0)
        whole = _Whole(limited(blocks, rate_hz, guard))
        yield from cut(whole, rate_hz, limits)
        whole.finish()


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


class _Whole(Generic[T]):
    """A stream that ends where a problem comes, which is raised when all has been used."""

    def __init__(self, values: Iterator[T]) -> None:
        self._values = values
        self._problem: Exception | None = None

    def __iter__(self) -> Iterator[T]:
        import av

        try:
            yield from self._values
        except (av.FFmpegError, DecodeError) as error:
            self._problem = error

    def finish(self) -> None:
        """Raise the problem, if there was one."""
        if self._problem:
            raise self._problem


def _scenes(
    frames: "Iterable[tuple[float, VideoFrame]]",
) -> "Iterator[tuple[float, VideoFrame, bool]]":
    """All frames, and whether each differs from the last new one, or comes long after it."""
    last_s, last = -LONGEST_S, None
    for time, frame in frames:
        is_new = False
        if time - last_s >= SHORTEST_S:
            glance = _glance(frame)
            late = time - last_s >= LONGEST_S
            is_new = last is None or late or bool(np.abs(glance - last).mean() > NEW)
            if is_new:
                last_s, last = time, glance
        yield time, frame, is_new


def _frames(
    container: "InputContainer", guard: DecodeLimits, start_s: float
) -> "Iterator[tuple[float, VideoFrame]]":
    """Frames with their seconds, from a key frame at or before ``start_s``.

    Frames on which no other depends are left out: half of the work, at the same scenes. Where times
    start anew, as in films that were put together, they go on from the last one.
    """
    stream = _stream(container, "video")
    if stream is None:
        return
    stream.codec_context.skip_frame = "NONREF"
    first_s, last_s = _first_s(container), 0.0
    for frame in _decoded(container, stream, start_s):
        if frame.width * frame.height > guard.image_pixels:
            raise DecodeError(
                f"{frame.width:,} x {frame.height:,} pixels are more than the limit of "
                f"{guard.image_pixels:,}"
            )
        if frame.time is None:
            continue
        if frame.time - first_s < last_s - SHORTEST_S:
            first_s = frame.time - last_s
        last_s = max(frame.time - first_s, 0.0)
        yield last_s, frame


def _track(container: "InputContainer", start_s: float) -> tuple[int, Iterator[FloatArray]]:
    """The rate of a sound track, and its samples from a time on, mono: (n,) float32 arrays."""
    stream = _stream(container, "audio")
    if stream is None:
        return 1, iter(())
    return int(stream.rate), _samples(container, stream, start_s)


def _samples(container: "InputContainer", stream: Any, start_s: float) -> Iterator[FloatArray]:
    """Samples from a time on; silence where the track has none."""
    import av

    rate_hz, done = int(stream.rate), 0
    as_floats = av.AudioResampler(format="fltp", rate=rate_hz)
    origin_s = _first_s(container) + start_s
    for frame in _decoded(container, stream, start_s):
        at = done if frame.time is None else round((frame.time - origin_s) * rate_hz)
        for floats in as_floats.resample(frame):
            mono: FloatArray = floats.to_ndarray().mean(axis=0, dtype=np.float32)
            if not done and at < 0:  # before what is asked for, or what an encoder put in front
                mono, at = mono[-at:], min(at + len(mono), 0)
            while at - done > GAP_S * rate_hz:
                silence = np.zeros(min(at - done, rate_hz), np.float32)
                yield silence
                done += len(silence)
            if len(mono):
                yield mono
            done, at = done + len(mono), at + len(mono)


def _stream(container: "InputContainer", kind: Literal["video", "audio"]) -> Any:
    """The stream that a player would choose, if there is one.

    Raises:
        DecodeError: FFmpeg cannot decode it.
    """
    stream = container.streams.best(kind)
    if stream is not None and stream.codec_context is None:
        raise DecodeError(f"its {kind} is coded in a way that FFmpeg does not know")
    return stream


def _decoded(container: "InputContainer", stream: Any, start_s: float) -> Iterator[Any]:
    """Frames from a time on, or a little before.

    A packet that cannot be decoded costs its own frames; it is an error after the last one.
    """
    import av

    wanted_s = _first_s(container) + start_s
    if start_s:
        container.seek(round(wanted_s * 1e6))
    problem, is_first = None, True
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            problem = error
            continue
        if start_s and is_first and frames and (frames[0].time or 0.0) > wanted_s + GAP_S:
            # Small files without an index are not sought in, but past.
            container.seek(container.start_time or 0)
            yield from _decoded(container, stream, 0.0)
            return
        is_first = is_first and not frames
        yield from frames
    if problem and not start_s:
        raise problem


def _first_s(container: "InputContainer") -> float:
    """The time at which the file starts."""
    return (container.start_time or 0) / 1e6


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
