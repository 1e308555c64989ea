"""Text from files, made safe to show: what a name or a passage may do to a screen, it may not."""

import re

from mmsearch.errors import one_line as escaped
from mmsearch.records import Chunk, Modality

# They join letters of Persian and Indic words and the people of an emoji, and do nothing else.
_JOINERS = re.compile("([\u200c\u200d])")


def one_line(text: str) -> str:
    """A name or value on one line: nothing in it moves a cursor, hides, or turns text around.

    Line breaks, terminal codes, bidirectional and other invisible characters, and bytes that are
    not UTF-8 (lone surrogates) become escapes.
    """
    return "".join(
        part if _JOINERS.fullmatch(part) else escaped(part) for part in _JOINERS.split(text)
    )


def lines(text: str) -> str:
    """The same for a passage: its line breaks stay, other white space becomes a space."""
    return "\n".join(one_line(" ".join(line.split())) for line in text.splitlines()).strip()


def shorten(text: str, limit: int) -> str:
    """A passage on one line of at most ``limit`` characters, cut between words if it has any."""
    text = one_line(" ".join(text.split()))
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    head, space, _ = cut.rpartition(" ")
    # Chinese and Japanese put no spaces between words: there the cut stays where it is.
    return (head if space and len(head) > limit // 2 else cut).rstrip() + "…"


def where(modality: Modality, chunk: Chunk) -> str:
    """The stretch of a part in words: ``12.0–22.0 s``, ``chars 10–250``; empty for a whole."""
    if chunk.start is None:
        return ""
    start, end = (
        "" if offset is None else f"{offset:.0f}" if modality is Modality.TEXT else f"{offset:.1f}"
        for offset in (chunk.start, chunk.end)
    )
    stretch = f"{start}–{end}" if end else start
    return f"chars {stretch}" if modality is Modality.TEXT else f"{stretch} s"
