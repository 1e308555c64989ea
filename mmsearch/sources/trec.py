"""TREC's files: ``qrels`` say what is relevant to a query, a ``run`` what a system found for it.

Their columns stand between white space, so names are percent-encoded as in URLs: white space,
control characters, ``%`` itself, and bytes that are not UTF-8. Everything else stays as it is.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar
from urllib.parse import quote, unquote

import numpy as np

from mmsearch.errors import UsageError, one_line
from mmsearch.sources.formats import read_text

Qrels: TypeAlias = dict[str, dict[str, int]]
"""By query the grades of the items that were judged for it, by name."""
Number = TypeVar("Number", int, float)
Ranked: TypeAlias = Sequence[tuple[str, float]]
"""Names and scores of what was found, best first."""

GRADES = range(-(2**31), 2**31)
"""What a grade may be: sums of them fit 64 bits."""
_QRELS = "query, iteration, item, grade"
_RUN = "query, Q0, item, rank, score, tag"


def read_qrels(path: str | os.PathLike[str]) -> Qrels:
    """Read a ``qrels`` file.

    Raises:
        UsageError: It cannot be read, or a line of it is something else.
    """
    qrels: Qrels = {}
    for at, (query, _, item, grade) in _lines(path, _QRELS):
        judged = qrels.setdefault(query, {})
        number = _number(at, "grade", grade, int)
        if number not in GRADES:
            raise UsageError(f"{at}: the grade '{grade}' is too large")
        if judged.setdefault(item, number) != number:
            raise UsageError(f"{at}: {one_line(item)} was given another grade before")
    return qrels


def read_run(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read a ``run`` file: by query the names that were found, best first.

    As in trec_eval the scores decide, not the ranks; equal scores keep the order of their lines.

    Raises:
        UsageError: It cannot be read, or a line of it is something else.
    """
    scores: dict[str, dict[str, float]] = {}
    for at, (query, _, item, _, score, _) in _lines(path, _RUN):
        found = scores.setdefault(query, {})
        if item in found:
            raise UsageError(f"{at}: {one_line(item)} was found before, for the same query")
        found[item] = _number(at, "score", score, float)
    if not scores:
        raise UsageError(f"{one_line(os.fsdecode(path))}: an empty run")
    return {q: sorted(found, key=found.__getitem__, reverse=True) for q, found in scores.items()}


def run_lines(run: Mapping[str, Ranked], tag: str) -> Iterator[str]:
    """Return the lines of a ``run`` file.

    trec_eval orders equal scores by name, so these are written one float32 apart: it then sees
    the items in their true order.

    Args:
        run: By query what was found for it.
        tag: Names the system.
    """
    for query, found in run.items():
        last = np.float32(np.inf)
        for rank, (item, score) in enumerate(found, start=1):
            last = min(np.float32(score), np.nextafter(last, np.float32(-np.inf)))
            yield f"{_escaped(query)} Q0 {_escaped(item)} {rank} {last:.9g} {tag}"


def _lines(path: str | os.PathLike[str], columns: str) -> Iterator[tuple[str, list[str]]]:
    """Yield for each line that is not blank where it stands, and its cells."""
    name = one_line(os.fsdecode(path))
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        cells = line.split()
        if cells and len(cells) != len(columns.split(", ")):
            raise UsageError(f"{name}, line {number}: not {columns}: '{one_line(line[:80])}'")
        if cells:
            yield f"{name}, line {number}", [unquote(c, errors="surrogateescape") for c in cells]


def _number(at: str, what: str, cell: str, kind: Callable[[str], Number]) -> Number:
    try:
        number = kind(cell)
    except ValueError:
        number = None
    if number is None or number != number:  # NaN has no place in an order
        raise UsageError(f"{at}: the {what} '{one_line(cell)}' is no number")
    return number


def _escaped(name: str) -> str:
    return "".join(
        char
        if char.isprintable() and not char.isspace() and char != "%"
        else quote(char, safe="", errors="surrogateescape")
        for char in name
    )
