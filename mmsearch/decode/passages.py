"""Cutting texts into passages."""

import re
from collections.abc import Callable, Iterator
from typing import Final

_WORD: Final = re.compile(r"\S")
_BREAKS: Final = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"""[.!?…]["'”’)\]]*\s+|[。！？；][」』”’）]*\s*"""),
    re.compile(r"[\s，、；：]+"),
)
"""Where a text may be cut, the best first: after a paragraph, a sentence, a word."""


def passages(text: str, max_chars: int, fits: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    """Cut a text at paragraphs, else sentences, else words, into stretches that fit.

    Yields:
        Start and end (exclusive) of each passage. They are in order, do not overlap, and leave
        out nothing but white space.

    Raises:
        ValueError: Not even one character fits.
    """
    size = max_chars
    start = _next_word(text, 0)
    while start is not None:
        size = min(max_chars, size + size // 4 + 1)
        end = _cut(text, start, size)
        while not fits(text[start:end]):
            if end - start <= 1:
                raise ValueError(f"not even {text[start]!r} fits")
            size = max(1, min(size, end - start) * 4 // 5)
            end = _cut(text, start, size)
        yield start, end
        start = _next_word(text, end)


def _next_word(text: str, position: int) -> int | None:
    found = _WORD.search(text, position)
    return found.start() if found else None


def _cut(text: str, start: int, size: int) -> int:
    """The end of a passage of at most ``size`` characters."""
    limit = start + size
    if limit >= len(text):
        return start + len(text[start:].rstrip())
    # A passage is at least half full, unless only the space between two words can save a word.
    for pattern, first in zip(_BREAKS, (start + size // 2, start + size // 2, start), strict=True):
        ends = [found.end() for found in pattern.finditer(text, first, limit)]
        if ends:
            return start + len(text[start : ends[-1]].rstrip())
    return limit
