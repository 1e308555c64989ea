"""Hits as JSON: one schema, ``docs/query.schema.json``, whose changes raise its version."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TypeAlias

from mmsearch.records import Hit, Modality

VERSION = 1
"""A new optional field keeps the version; a field that goes or changes its meaning raises it."""

JsonValue: TypeAlias = (
    str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
)


def hits_to_json(query: Mapping[str, object], hits: Sequence[Hit]) -> str:
    r"""What was asked and what was found, as one JSON object.

    The output is ASCII, so that no terminal obeys a control character in a name, and it is
    lossless: a name that is not UTF-8 comes out as ``\udcff`` escapes, which ``json.loads`` gives
    back as the very string that opens the file. Numbers that JSON lacks (NaN, infinities) are
    ``null``.

    Args:
        query: The arguments of the search, as ``Index.search`` takes them.
        hits: What it found.
    """
    return json.dumps(_page(query, hits), indent=2, allow_nan=False)


def answer_to_json(
    name: str, query: Mapping[str, object], hits: Sequence[Hit], error: str | None
) -> str:
    """The same on one line, for one query of many.

    Args:
        name: The query's id.
        query: The arguments of its search.
        hits: What it found.
        error: Why it could not be asked.
    """
    failed = {} if error is None else {"error": error}
    return json.dumps({"id": name} | _page(query, hits) | failed, allow_nan=False)


def _page(query: Mapping[str, object], hits: Sequence[Hit]) -> dict[str, JsonValue]:
    return {
        "version": VERSION,
        "query": {name: _plain(value) for name, value in query.items() if value is not None},
        "hits": [_hit(hit) for hit in hits],
    }


def _hit(hit: Hit) -> JsonValue:
    """One hit, its item, the part and the chunk that matched."""
    item, part, chunk = hit.item, hit.part, hit.chunk
    return {
        "rank": hit.rank,
        "score": _plain(hit.score),
        "relevance": _plain(hit.relevance),
        "approximate": hit.approximate,
        "item": {
            "id": item.id,
            "name": item.name,
            "path": str(item.path),
            "row": item.row,
            "columns": _plain(item.columns),
        },
        "part": {"role": part.role, "modality": str(part.modality), "path": part.path},
        "chunk": {
            "start": _plain(chunk.start),
            "end": _plain(chunk.end),
            "unit": None if chunk.start is None else _unit(part.modality),
        },
        "text": hit.text,
        "signals": _plain(hit.signals),
        "shares": _plain(hit.shares),
        "duplicates": [
            {"id": item.id, "name": item.name, "path": str(item.path)} for item in hit.duplicates
        ],
    }


def _unit(modality: Modality) -> str:
    return "chars" if modality is Modality.TEXT else "seconds"


def _plain(value: object) -> JsonValue:
    """A value as JSON has it: enums and paths as strings, numbers finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # NumPy's numbers too, which are not int or float
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return str(value)
