"""Printing the answers to many queries, each as a whole, as soon as it is there."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.cli.printing import failure_line, say

if TYPE_CHECKING:
    from mmsearch.engine.batch import Answer


def print_answers(
    found: "Iterable[Answer]", options: Mapping[str, object], *, as_json: bool
) -> None:
    """Print answers as they come, and at the end how many; exit as it went.

    Args:
        found: Answers in the order of their queries.
        options: The arguments that all searches share.
        as_json: One JSON object for each query, not tab-separated lines for each hit.

    Raises:
        typer.Exit: 130 after Ctrl-C, 1 where no query could be asked.
    """
    started, count, failed = time.monotonic(), 0, 0
    state = "done"
    try:
        for answer in found:
            count += 1
            _write([_json(answer, options)] if as_json else _hits(answer))
            if answer.failure:
                failed += 1
                say(failure_line(answer.failure))
    except KeyboardInterrupt:
        state = "interrupted"
    seconds = time.monotonic() - started
    say(f"{state} in {seconds:.1f} s: {count:,} queries, {failed:,} could not be asked")
    if state == "interrupted":
        raise typer.Exit(130)
    if count == failed:
        raise typer.Exit(1)


def _write(lines: Iterable[str]) -> None:
    """Write lines whole: Ctrl-C waits for the last of them."""
    from mmsearch.engine.signals import uninterrupted

    text = "".join(f"{line}\n" for line in lines)
    rest = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
    with uninterrupted():
        # Not as text: where PYTHONUNBUFFERED is set, Python loses the rest of a write to a full
        # pipe that a signal has interrupted.
        while rest:
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.flush()


def _json(answer: "Answer", options: Mapping[str, object]) -> str:
    from mmsearch.present.json_ import answer_to_json

    query, reason = answer.query, answer.failure.reason if answer.failure else None
    asked: dict[str, Any] = {}
    if query:
        asked = {"text": query.text, "image": query.image, "audio": query.audio, **options}
        asked["exclude"] = query.exclude or None
    return answer_to_json(answer.id, asked, answer.hits, reason)


def _hits(answer: "Answer") -> list[str]:
    from mmsearch.present.table import hits_lines
    from mmsearch.present.words import one_line

    return [f"{one_line(answer.id)}\t{line}" for line in hits_lines(answer.hits)]
