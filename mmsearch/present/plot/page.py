"""The points as a page to look around in: hover, zoom, drag, toggle what the legend names."""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from markupsafe import Markup

from mmsearch.decode import quiet_pillow
from mmsearch.engine.chunks import EmbeddedChunk
from mmsearch.present.cards import alt_text, file_link, in_words, sight
from mmsearch.present.json_ import JsonValue
from mmsearch.present.plot.color import GREY, STOPS, Categories, Coloring
from mmsearch.present.plot.project import Projection
from mmsearch.present.previews import Sight, picture_preview
from mmsearch.present.standalone import read_text, render
from mmsearch.present.words import one_line, shorten, where
from mmsearch.records import FloatArray

THUMBNAIL_PX = 64
_TEXT_CHARS = 240
_VALUE_CHARS = 120
_PACKAGE = "mmsearch.present.plot"
# In a script element only these could end it or begin a comment (HTML standard, 4.12.1.3).
_HARMLESS = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def page_html(
    chunks: Sequence[EmbeddedChunk],
    projection: Projection,
    coloring: Coloring,
    title: str,
    subtitle: str,
) -> str:
    """The page as a string: nothing in it is loaded from anywhere.

    Args:
        chunks: What the points stand for.
        projection: Where they are.
        coloring: What their colours mean.
        title: The page's title.
        subtitle: What is drawn.
    """
    data = json.dumps(_data(chunks, projection.points, coloring), separators=(",", ":"))
    values = {
        "title": title,
        "subtitle": subtitle,
        "count": len(chunks),
        "coloring": coloring,
        "categorical": isinstance(coloring, Categories),
        "stops": STOPS,
        "data": Markup(data.translate(_HARMLESS)),
    }
    return render("page", values, package=_PACKAGE, script=read_text(_PACKAGE, "page.js"))


def _data(
    chunks: Sequence[EmbeddedChunk], points: FloatArray, coloring: Coloring
) -> Mapping[str, JsonValue]:
    """What the script draws; items and pictures once, however many points they have."""
    sights = [sight(chunk.item, chunk.part, chunk.chunk) for chunk in chunks]
    pictures = {seen: place for place, seen in enumerate(dict.fromkeys(filter(None, sights)))}
    items = {chunk.item.id: chunk for chunk in chunks}
    numbers = {item_id: place for place, item_id in enumerate(items)}
    centred = _centred(points)
    rows = zip(chunks, centred.tolist(), _colors(coloring), sights, strict=True)
    return {
        "extent": np.abs(centred).max(axis=0).tolist(),
        "points": [
            {
                "at": [round(number, 5) for number in place],
                "color": color,
                "item": numbers[chunk.item.id],
                "picture": pictures[seen] if seen else None,
                **_told(chunk),
            }
            for chunk, place, color, seen in rows
        ],
        "items": [_item(chunk) for chunk in items.values()],
        "pictures": _pictures(list(pictures)),
        "groups": [
            {"color": entry.color, "shape": entry.shape, "count": entry.count}
            for entry in (coloring.entries if isinstance(coloring, Categories) else ())
        ],
        "stops": STOPS,
        "grey": GREY,
    }


def _centred(points: FloatArray) -> FloatArray:
    """Put the middle of the points at 0 and the farthest of them at 1, axes to one scale."""
    low, high = points.min(axis=0), points.max(axis=0)
    centred: FloatArray = (points - (low + high) / 2) * 2 / (float((high - low).max()) or 1.0)
    return centred


def _colors(coloring: Coloring) -> Sequence[int | float | None]:
    """Each point's place in the legend, or on the scale."""
    if isinstance(coloring, Categories):
        return [int(entry) for entry in coloring.of]
    return [round(float(share), 4) if np.isfinite(share) else None for share in coloring.shares]


def _told(chunk: EmbeddedChunk) -> Mapping[str, str]:
    """What is said of a point beside its item's name and columns."""
    caption = next((part.text for part in chunk.item.parts if part.text), None)
    return {
        "modality": chunk.part.modality,
        "where": where(chunk.part.modality, chunk.chunk),
        "text": shorten(chunk.text or caption or "", _TEXT_CHARS),
        "link": file_link(chunk.item, chunk.part),
    }


def _item(chunk: EmbeddedChunk) -> Mapping[str, JsonValue]:
    columns = chunk.item.columns.items()
    return {
        "name": one_line(chunk.item.name),
        "alt": alt_text(chunk.item),
        "columns": [[one_line(n), shorten(in_words(v), _VALUE_CHARS)] for n, v in columns],
    }


def _pictures(sights: Sequence[Sight]) -> Sequence[Mapping[str, JsonValue]]:
    """Thumbnails, or why there is none; Pillow decodes on all cores."""
    with quiet_pillow(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return [*pool.map(_thumbnail, sights)]


def _thumbnail(sight: Sight) -> Mapping[str, JsonValue]:
    preview = picture_preview(sight, THUMBNAIL_PX)
    return {"uri": preview.uri, "reason": preview.reason}
