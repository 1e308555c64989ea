"""Texts: decoding files of unknown encoding, and passages."""

import codecs
import os
from collections.abc import Callable, Iterator
from typing import Final

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode.files import open_regular, unreadable
from mmsearch.decode.passages import passages
from mmsearch.errors import DecodeError, one_line
from mmsearch.records import Chunk, Part

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16 does: must come first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ASCII: Final = bytes(range(128))


def decode_text(
    part: Part, limits: InputLimits, fits: Callable[[str], bool], guard: DecodeLimits
) -> Iterator[tuple[Chunk, str]]:
    """Cut a text into passages.

    Yields:
        Passages with their start and end: character offsets into the decoded text.

    Raises:
        DecodeError: The file is no text, or the text is empty or too long.
    """
    name = one_line(part.role if part.path is None else part.path)
    text = (part.text or "") if part.path is None else read_text(part.path, guard)
    try:
        text.encode()
        for start, end in passages(text, limits.text_chars, fits):
            yield Chunk(start, end), text[start:end]
    except UnicodeEncodeError:
        raise DecodeError(f"{name}: the text is not valid Unicode") from None
    except ValueError as error:
        raise DecodeError(f"{name}: {error}") from None
    if not text.strip():
        raise DecodeError(f"{name}: the text is empty")


def read_text(path: str, guard: DecodeLimits) -> str:
    """Read a text file: Unicode by its byte order mark, else UTF-8, else Windows-1252.

    Raises:
        DecodeError: The file is too large, or no text.
    """
    with open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = file.read(guard.text_bytes + 1)
        except OSError as error:
            raise unreadable(path, error) from None
    if max(size, len(data)) > guard.text_bytes:
        raise DecodeError(
            f"{one_line(path)}: {size:,} bytes of text are more than the limit of "
            f"{guard.text_bytes:,}: split the file"
        )
    text = _decoded(data)
    if text is None or "\0" in text:
        raise DecodeError(f"{one_line(path)}: not a text in UTF-8: convert it, or rename it")
    return text


def _decoded(data: bytes) -> str | None:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return _western(data) if encoding == "utf-8" else None


def _western(data: bytes) -> str | None:
    """Old notes in Windows-1252: accented letters are rare in them.

    Text in Chinese, Japanese or Cyrillic encodings is mostly bytes above 127, and would come
    out as nonsense.
    """
    high = len(data.translate(None, _ASCII))
    if high > 0.25 * len(data):
        return None
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return None
