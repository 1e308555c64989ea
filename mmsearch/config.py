"""Limits and defaults, each with its reason; and where an index lives."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InputLimits:
    """The longest input that an encoder takes in one embedding.

    Attributes:
        text_chars: Characters of a passage; the encoder's ``fits`` has the last word.
        window_s: Seconds of a sound.
        hop_s: Seconds between the starts of two windows.
    """

    text_chars: int = 1000
    window_s: float = 10.0
    hop_s: float = 5.0


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a decoder refuses, so that one file cannot take all memory.

    Attributes:
        image_pixels: 200 megapixels are 600 MB of RGB; the largest cameras stay below.
        sound_s: A day; windows are read one by one, so this bounds time, not memory.
        text_bytes: The largest text file that is read.
        sample_rate_hz: A window of 10 s at this rate is 40 MB; recorders of bats stay below.
    """

    image_pixels: int = 200_000_000
    sound_s: float = 86_400.0
    text_bytes: int = 64 * 1024 * 1024
    sample_rate_hz: int = 1_000_000
