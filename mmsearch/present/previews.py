"""Small copies of pictures and stretches of sounds, as data URIs for a page that stands alone."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile
from PIL.Image import Image

from mmsearch.config import DecodeLimits
from mmsearch.decode.files import open_regular
from mmsearch.decode.image import decode_image
from mmsearch.decode.video import frame_at, read_track
from mmsearch.errors import DecodeError
from mmsearch.present.words import one_line
from mmsearch.records import Chunk, FloatArray, Sound
from mmsearch.sources.suffixes import has_track, is_video

THUMBNAIL_PX = 320
LONGEST_S = 30.0
"""A query sound may be hours long; a page holds its beginning."""
_BARS = 56
# All that MPEG layers III know; anything else is resampled to the nearest below.
_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


@dataclass(frozen=True, slots=True)
class Sight:
    """A picture, or a video at a moment.

    Attributes:
        path: The file.
        seconds: The moment.
    """

    path: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Preview:
    """What a page shows of a file.

    Attributes:
        name: The file's name.
        uri: A data URI; empty when the file is gone or broken.
        reason: Why there is no data.
        width: Pixels of a picture.
        height: Pixels of a picture.
        bars: The loudness of a sound over its time, each 0 to 100.
    """

    name: str
    uri: str = ""
    reason: str = ""
    width: int = 0
    height: int = 0
    bars: tuple[int, ...] = ()


def picture_preview(sight: Sight, side_px: int = THUMBNAIL_PX) -> Preview:
    """A picture, upright, at most ``side_px`` wide and high, as a JPEG."""
    name = one_line(sight.path.rpartition("/")[2])
    try:
        if is_video(sight.path):
            picture = frame_at(sight.path, sight.seconds, DecodeLimits())
        else:
            picture = decode_image(sight.path, DecodeLimits(), min_side=2 * side_px)
    except DecodeError as error:
        return Preview(name, reason=one_line(str(error)))
    return shown(name, picture, side_px)


def shown(name: str, picture: Image, side_px: int = THUMBNAIL_PX) -> Preview:
    """An RGB picture, at most ``side_px`` wide and high, as a JPEG."""
    small = picture.copy()
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return Preview(name, _uri("image/jpeg", buffer), width=small.width, height=small.height)


def sound_preview(path: str, chunk: Chunk) -> Preview:
    """The chunk's own seconds of a sound, mono, and its loudness over time."""
    name = one_line(path.rpartition("/")[2])
    start_s = chunk.start or 0.0
    length_s = LONGEST_S if chunk.end is None else min(chunk.end - start_s, LONGEST_S)
    try:
        sound = _read(path, start_s, length_s)
    except DecodeError as error:
        return Preview(name, reason=one_line(str(error)))
    return Preview(name, _encode(sound), bars=_loudness(sound.samples))


def _read(path: str, start_s: float, length_s: float) -> Sound:
    """A stretch of a sound or of a sound track, mono."""
    if has_track(path):
        return _audible(path, read_track(path, start_s, length_s))
    with open_regular(path) as file:
        try:
            with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
                rate_hz = int(sound.samplerate)
                sound.seek(round(start_s * rate_hz))
                frames = sound.read(round(length_s * rate_hz), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise DecodeError(f"{path}: not a readable sound: {error}") from None
    return _audible(path, Sound(frames.mean(axis=1, dtype=np.float32), rate_hz))


def _audible(path: str, sound: Sound) -> Sound:
    """A sound that can be played: files of floats may hold anything."""
    if not len(sound.samples):
        raise DecodeError(f"{path}: it is shorter than when it was indexed")
    return Sound(np.clip(np.nan_to_num(sound.samples), -1, 1), sound.sample_rate_hz)


def _encode(sound: Sound) -> str:
    """A sound as MP3, the one compact format that every browser plays.

    Safari before 18.4 plays no Vorbis or Opus in Ogg; ten seconds of WAV are 20 times as large.
    """
    rate_hz = max((r for r in _MP3_RATES_HZ if r <= sound.sample_rate_hz), default=8_000)
    samples = np.clip(_resample(sound, rate_hz), -1, 1)
    buffer = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        soundfile.write(buffer, samples, rate_hz, format="MP3")
        return _uri("audio/mpeg", buffer)
    # A distribution's own libsndfile may be built without an MP3 encoder.
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="PCM_16")
    return _uri("audio/wav", buffer)


def _resample(sound: Sound, rate_hz: int) -> FloatArray:
    """The samples at another rate, by cutting or padding their spectrum: enough for listening."""
    size = round(len(sound.samples) * rate_hz / sound.sample_rate_hz)
    if size == len(sound.samples):
        return sound.samples
    spectrum = np.fft.rfft(sound.samples)[: size // 2 + 1]
    return (np.fft.irfft(spectrum, size) * size / len(sound.samples)).astype(np.float32)


def _loudness(samples: FloatArray) -> tuple[int, ...]:
    """The peak of each of ``_BARS`` stretches, 4 to 100, the loudest 100."""
    peaks = np.array([np.max(np.abs(part), initial=0) for part in np.array_split(samples, _BARS)])
    return tuple(int(bar) for bar in np.maximum(100 * peaks / max(peaks.max(), 1e-9), 4))


def _uri(mime: str, buffer: io.BytesIO) -> str:
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"
