"""Cutting texts into passages."""

import re
from collections.abc import Callable, Iterator
from typing import Final

_WORD: Final = re.compile(r"\S")
_PARAGRAPH: Final = r"\n[^\S\n]*\n\s*"
_SENTENCE: Final = r"""[.!?…]["'”’)\]]*\s+|[。！？；][」』”’）]*\s*"""
_BREAKS: Final = (
    (re.compile(_PARAGRAPH), 2),
    (re.compile(f"{_PARAGRAPH}|{_SENTENCE}"), 4),
    (re.compile(r"[\s，、；：]+"), 0),
)
"""Where a text may be cut, the best first: after a paragraph, a sentence, a word; and which part of
the passage must be full for it (a half, a quarter, nothing): a title is no passage of its own if
half a page follows."""


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
    for pattern, part in _BREAKS:
        first = start + (size // part if part else 0)
        # One more character than fits: the space after a word that ends at the limit.
        found = pattern.finditer(text, first, limit + 1)
        ends = [one.start() + len(one[0].rstrip()) for one in found]
        end = max((end for end in ends if end <= limit), default=start)
        if end > start:
            return start + len(text[start:end].rstrip())
    return limit
