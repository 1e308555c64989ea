"""Decoding one part of an item, whatever its modality."""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from PIL.Image import Image

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode.audio import decode_sound
from mmsearch.decode.image import decode_image
from mmsearch.decode.text import decode_text
from mmsearch.decode.video import decode_frames, decode_track
from mmsearch.records import Chunk, Modality, Part, Sound
from mmsearch.sources.suffixes import has_track, is_video

Decoded: TypeAlias = str | Image | Sound
"""One decoded chunk: a passage, an RGB picture, or a mono stretch of sound."""

_GUARD: Final = DecodeLimits()


def decode_part(
    part: Part,
    limits: InputLimits,
    fits: Callable[[str], bool],
    guard: DecodeLimits = _GUARD,
) -> Iterator[tuple[Chunk, Decoded]]:
    """Decode a part, cut to what an encoder takes in one embedding.

    Windows of a sound are read one by one, so an error can come after the first chunks: a part
    is decoded when the iterator ends. Safe to call from many threads.

    Args:
        part: A file or a text.
        limits: How long a passage and a window may be, and how small a picture.
        fits: Whether a text is short enough; passages are cut until they are.
        guard: What is refused as too large.

    Yields:
        Chunks in their order, each with its passage, picture or sound; at least one, but for files
        of FFmpeg's, which may lack pictures or sound.

    Raises:
        DecodeError: The part cannot be decoded: one line with its path or role, and the reason.
    """
    if part.modality is Modality.TEXT:
        yield from decode_text(part, limits, fits, guard)
        return
    assert part.path is not None  # a part without a path is a text
    if part.modality is Modality.AUDIO:
        decode = decode_track if has_track(part.path) else decode_sound
        yield from decode(part.path, limits, guard)
    elif is_video(part.path):
        yield from decode_frames(part.path, guard, limits.image_side)
    else:
        yield Chunk(), decode_image(part.path, guard, limits.image_side)
