"""A page of hits that stands alone: one HTML file, no script, nothing loaded from anywhere."""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from mmsearch.errors import MMSearchError
from mmsearch.present.words import one_line
from mmsearch.records import Hit


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the page to show.

    Attributes:
        query: The arguments of the search, as ``Index.search`` takes them; ``image`` and
            ``audio`` are paths.
        hits: What it found.
        heading: A few words over it.
    """

    query: Mapping[str, object]
    hits: Sequence[Hit] = field(default_factory=tuple)
    heading: str = "Search"


def write_gallery(path: str | os.PathLike[str], searches: Sequence[Search], title: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file; replaced if it exists.
        searches: Shown one below the other, with links to each at the top.
        title: The page's title.

    Raises:
        MMSearchError: The file cannot be written.
    """
    page = gallery_html(searches, title)
    target = Path(path)
    # The process id keeps two writers apart; the rename shows readers the old page or the new.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise MMSearchError(f"cannot write {one_line(str(target))}: {reason}") from error


def gallery_html(searches: Sequence[Search], title: str) -> str:
    """The page as a string."""
    # Jinja2 takes a while to import, and the command line's --help must not wait for it.
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from mmsearch.decode import quiet_pillow
    from mmsearch.present.cards import panel

    here = files("mmsearch.present")
    css = here.joinpath("gallery.css").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(here.joinpath("gallery.html.j2").read_text(encoding="utf-8"))
    with quiet_pillow():
        panels = [panel(search.heading, search.query, search.hits) for search in searches]
    # Markup: the style is ours, and quotes in it must not be escaped.
    return template.render(
        title=one_line(title), css=Markup(css), policy=_policy(css), sections=panels
    )


def _policy(css: str) -> str:
    """A Content-Security-Policy that allows the page's own style, and media inside the page."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
