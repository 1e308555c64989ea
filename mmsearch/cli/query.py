"""The command `mmsearch query`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mmsearch.cli.options import (
    DeviceOption,
    IndexOption,
    JsonOption,
    PrecisionOption,
    TargetOption,
    TemplateOption,
    WhereOption,
)
from mmsearch.cli.printing import print_hits, say
from mmsearch.config import locate_index


def query(
    text: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[
        str | None, typer.Option(metavar="FILE", help="A picture to look for.")
    ] = None,
    audio: Annotated[str | None, typer.Option(metavar="FILE", help="A sound to look for.")] = None,
    target: TargetOption = None,
    template: TemplateOption = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    where: WhereOption = None,
    json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the hits as a page with pictures.")
    ] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Find what fits a text, a picture, a sound, or several of them together."""
    from mmsearch.engine.opening import open_index

    asked: dict[str, Any] = {"text": text, "image": image, "audio": audio}
    asked |= {"target": target or None, "k": k, "where": where}
    if template:
        asked["templates"] = template
    with open_index(locate_index(index), device=device, precision=precision) as opened:
        hits = opened.search(**asked)
    print_hits(asked, hits, as_json=json)
    if html:
        from mmsearch.present.gallery import Search, write_gallery

        write_gallery(html, [Search(asked, hits)], "mmsearch")
        say(f"wrote {html}")
