"""Heat maps for what `mmsearch query` has found: for its page, and as pictures in a folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.cli.printing import failure_line, say
from mmsearch.errors import DecodeError, MMSearchError, ModelError, UsageError, one_line

if TYPE_CHECKING:
    from mmsearch.engine.heat_map import HeatMap
    from mmsearch.engine.index import Index
    from mmsearch.engine.query import Query
    from mmsearch.records import Hit

_STEM_BYTES = 200
"""Of a file's name: with rank and suffix, no more than file systems take."""


def heat_maps(
    index: "Index", hits: "Sequence[Hit]", query: "Query", *, needed: bool
) -> "Mapping[int, HeatMap]":
    """Make heat maps, by rank; what cannot be read any more is named and left out.

    Args:
        index: Where the hits are from.
        hits: Found by the query.
        query: What was asked.
        needed: Whether it is an error that the model gives none, or only said.
    """
    from mmsearch.records import Failure

    def failed(place: int, error: DecodeError) -> None:
        say(failure_line(Failure(hits[place].item.source, str(error), hits[place].item.row)))

    try:
        found = index.heat_maps(hits, query, failed=failed)
    except (ModelError, UsageError) as error:
        if needed:
            raise
        say(str(error))
        return {}
    return {hit.rank: heat for hit, heat in zip(hits, found, strict=True) if heat}


def save_heat_maps(folder: Path, hits: "Sequence[Hit]", found: "Mapping[int, HeatMap]") -> None:
    """Write each heat map under its hit's rank and the name of its file.

    Raises:
        MMSearchError: The folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMSearchError(f"cannot write {one_line(str(folder))}: {error.strerror}") from error
    digits = len(str(len(hits)))
    for hit in hits:
        if hit.rank in found:
            stem = os.fsdecode(os.fsencode(hit.item.path.stem)[:_STEM_BYTES])
            found[hit.rank].save(folder / f"{hit.rank:0{digits}}-{stem}.jpg")
    say(f"wrote {len(found)} heat maps to {one_line(str(folder))}")
