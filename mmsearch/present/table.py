"""Hits for a terminal, as a table, and for a pipe, as tab-separated lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.present.words import one_line, shorten, where
from mmsearch.records import Hit

if TYPE_CHECKING:
    from rich.table import Table

# About two lines of a table on a terminal of 100 columns.
_SNIPPET_CHARS = 160


def hits_table(
    hits: Sequence[Hit], folder: Path | None = None, *, explained: bool = False
) -> Table:
    """The hits as a table that fits the terminal it is printed on.

    Args:
        hits: What a search found; ≈ marks what was found by way of texts.
        folder: Paths below it are shown relative to it (the working directory, for instance).
        explained: Whether to say why each hit stands where it does.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    calibrated = any(hit.relevance is not None for hit in hits)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", expand=False)
    table.add_column("#", justify="right", style="dim", no_wrap=True)
    table.add_column("relevance" if calibrated else "score", justify="right", no_wrap=True)
    table.add_column("modality", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("found", overflow="fold", ratio=1)
    for hit in hits:
        # Text, not str: rich reads markup such as [red] in a str.
        found = Text(_place(hit, folder))
        if text := _snippet(hit):
            found.append(f"\n{text}", style="dim")
        for line in _why(hit, explained):
            found.append(f"\n{line}", style="italic")
        value = _percent(hit.relevance) if calibrated else f"{hit.score:.3f}"
        value = f"≈ {value}" if hit.approximate else value
        matched = where(hit.part.modality, hit.chunk)
        table.add_row(str(hit.rank), value, _kind(hit), matched, found)
    return table


def hits_lines(hits: Sequence[Hit], *, explained: bool = False) -> list[str]:
    """The hits as lines of six fields, separated by tabs, for programs that read lines.

    The fields are rank, score, modality, where in the part, path and text; a field that a hit
    has nothing for is empty. Tabs, line breaks and other control characters in names and texts
    are replaced by visible ones, so a line is always one hit; ``--json`` keeps names exact. Where
    hits are explained, each is followed by lines that begin with a tab.
    """
    return [
        line
        for hit in hits
        for line in ("\t".join(_fields(hit)), *(f"\t{why}" for why in _why(hit, explained)))
    ]


def _why(hit: Hit, explained: bool) -> list[str]:
    return [one_line(line) for line in hit.explain()] if explained else []


def _fields(hit: Hit) -> tuple[str, ...]:
    """One line's six fields."""
    matched = where(hit.part.modality, hit.chunk)
    path = one_line(hit.part.path or str(hit.item.path))
    return str(hit.rank), f"{hit.score:.6f}", hit.part.modality, matched, path, _snippet(hit)


def _place(hit: Hit, folder: Path | None) -> str:
    """What to call the hit: its path, short where it can be, or its title and row."""
    path = hit.part.path or str(hit.item.path)
    if folder is not None and Path(path).is_relative_to(folder):
        path = os.path.relpath(path, folder)
    row = "" if hit.item.row is None else f" · {hit.item.row}"
    title = hit.item.columns.get("title")
    return one_line((f"{title} · " if isinstance(title, str) and title else "") + path + row)


def _kind(hit: Hit) -> str:
    """The modality, and the part's role where it says more."""
    role = one_line(hit.part.role)
    modality = hit.part.modality
    return modality if role in ("file", modality) else f"{modality} ({shorten(role, 16)})"


def _snippet(hit: Hit) -> str:
    """The passage that matched, short and on one line."""
    return shorten(hit.text or "", _SNIPPET_CHARS)


def _percent(relevance: float | None) -> str:
    return "–" if relevance is None else f"{relevance:.0%}"
