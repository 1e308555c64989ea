"""A page of hits that stands alone: one HTML file, no script, nothing loaded from anywhere."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmsearch.present.standalone import render, write_whole
from mmsearch.present.words import one_line
from mmsearch.records import Hit

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the page to show.

    Attributes:
        query: The arguments of the search, as ``Index.search`` takes them; ``image`` and
            ``audio`` are paths.
        hits: What it found.
        heading: A few words over it.
        heat: By rank, a hit's picture with its heat map painted over it.
    """

    query: Mapping[str, object]
    hits: Sequence[Hit] = field(default_factory=tuple)
    heading: str = "Search"
    heat: Mapping[int, "Image"] = field(default_factory=dict)


def write_gallery(path: str | os.PathLike[str], searches: Sequence[Search], title: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file; replaced if it exists.
        searches: Shown one below the other, with links to each at the top.
        title: The page's title.

    Raises:
        MMSearchError: The file cannot be written.
    """
    write_whole(path, gallery_html(searches, title).encode())


def gallery_html(searches: Sequence[Search], title: str) -> str:
    """The page as a string."""
    from mmsearch.decode import quiet_pillow
    from mmsearch.present.cards import panel

    with quiet_pillow():
        panels = [panel(s.heading, s.query, s.hits, s.heat) for s in searches]
    values = {"title": one_line(title), "sections": panels}
    return render("gallery", values, package="mmsearch.present")
