"""Sounds: mono windows at the file's own sample rate."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import soundfile

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode.files import open_regular
from mmsearch.errors import DecodeError, one_line
from mmsearch.records import Chunk, FloatArray, Sound

_BLOCK_SAMPLES: Final = 1 << 16
_UNKNOWN_FRAMES: Final = 2**63 - 1  # SF_COUNT_MAX in sndfile.h


def decode_sound(
    path: str, limits: InputLimits, guard: DecodeLimits
) -> Iterator[tuple[Chunk, Sound]]:
    """Read a sound window by window; memory holds one window.

    Yields:
        Windows with their start and end in seconds; a sound that is not longer than one window
        comes whole.

    Raises:
        DecodeError: The file is no sound, is empty or damaged, or too long; possibly only
            after the first windows.
    """
    with open_regular(path) as file:
        try:
            with _Stream(file.fileno(), closefd=False) as sound:
                rate_hz = int(sound.samplerate)
                yield from cut(limited(_blocks(sound), rate_hz, guard), rate_hz, limits)
        except DecodeError as error:
            raise DecodeError(f"{one_line(path)}: {error}") from None
        except soundfile.SoundFileError as error:
            reason = one_line(getattr(error, "error_string", str(error))).rstrip(".")
            raise DecodeError(f"{one_line(path)}: not a sound, or damaged: {reason}") from None


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A sound that is only ever read forwards.

    ``SoundFile.read`` seeks to where it already is after every read, if it can: that makes a
    damaged Ogg file seem whole, and changes the samples of an MP3.
    """

    def seekable(self) -> bool:
        """Pretend that it cannot seek."""
        return False


def cut(
    blocks: Iterable[FloatArray], rate_hz: int, limits: InputLimits
) -> Iterator[tuple[Chunk, Sound]]:
    """Cut a stream of samples into what an encoder takes, with the seconds of each."""
    window, hop = round(limits.window_s * rate_hz), round(limits.hop_s * rate_hz)
    for start, samples in windows(blocks, max(window, 1), max(hop, 1)):
        yield Chunk(start / rate_hz, (start + len(samples)) / rate_hz), Sound(samples, rate_hz)


def windows(
    blocks: Iterable[FloatArray], window: int, hop: int
) -> Iterator[tuple[int, FloatArray]]:
    """Cut a stream of samples into overlapping windows.

    Windows start at 0, hop, 2 hop, ... as long as they hold samples that the one before did not:
    together they cover the stream, and the last one may be shorter.

    Args:
        blocks: (n,) float32 arrays, the stream in its order.
        window: Samples in a window.
        hop: Samples between the starts of two windows; at most ``window`` counts.

    Yields:
        The number of each window's first sample, and its samples.
    """
    hop = min(hop, window)
    rest = np.empty(0, np.float32)
    start = covered = 0
    for block in blocks:
        rest = np.concatenate((rest, block))
        while len(rest) >= window:
            yield start, rest[:window].copy()
            covered = start + window
            start, rest = start + hop, rest[hop:]
    if start + len(rest) > covered:
        yield start, rest


def limited(
    blocks: Iterable[FloatArray], rate_hz: int, guard: DecodeLimits
) -> Iterator[FloatArray]:
    """A stream of samples, as long as they are sound.

    Raises:
        DecodeError: There are too many, or they are no numbers.
    """
    if not 0 < rate_hz <= guard.sample_rate_hz:
        raise DecodeError(f"a sample rate of {rate_hz} Hz (at most {guard.sample_rate_hz})")
    done = 0
    for block in blocks:
        done += len(block)
        if done > guard.sound_s * rate_hz:
            raise DecodeError(f"longer than {guard.sound_s:g} s")
        if not np.isfinite(block).all():
            raise DecodeError("it holds samples that are not finite numbers")
        yield block


def _blocks(sound: soundfile.SoundFile) -> Iterator[FloatArray]:
    """The file's samples, mono: (n,) float32 arrays, none of them empty."""
    size = max(max(_BLOCK_SAMPLES, sound.samplerate) // sound.channels, 1)
    done = 0
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        done += len(block)
        with np.errstate(all="ignore"):
            mono: FloatArray = block.mean(axis=1, dtype=np.float32)
        yield mono
    if not done:
        raise DecodeError("it holds no samples")
    rate, frames = sound.samplerate, sound.frames
    # The length of an MP3 is a guess from its bit rate and size, pictures in its tags included;
    # a stream whose header has no length is given the largest one there is.
    if sound.format != "MP3" and done < frames < _UNKNOWN_FRAMES:
        raise DecodeError(f"damaged: {done / rate:.2f} s of {frames / rate:.2f} s are there")
