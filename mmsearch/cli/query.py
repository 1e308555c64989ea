"""The command `mmsearch query`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mmsearch.cli.batch import print_answers
from mmsearch.cli.options import (
    DeviceOption,
    IndexOption,
    JsonOption,
    PrecisionOption,
    RerankOption,
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
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Many queries instead: a text a line, or rows (.jsonl, .csv, .tsv) with text, "
            "image, audio, video, and id. - is stdin.",
        ),
    ] = None,
    target: TargetOption = None,
    template: TemplateOption = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    where: WhereOption = None,
    rerank: RerankOption = "convex",
    min_relevance: Annotated[
        float, typer.Option(help="Leave out what is less likely to be relevant, 0 to 1.")
    ] = 0.0,
    json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the hits as a page with pictures.")
    ] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Find what fits a text, a picture, a sound, or several of them together.

    With --batch, each hit is a line that begins with its query's id, or each query a line of JSON.
    File names start at the folder of FILE, on stdin at the working directory. What cannot be asked
    is named on stderr, and has its reason in its line of JSON.
    """
    from mmsearch.engine.opening import open_index

    one: dict[str, Any] = {"text": text, "image": image, "audio": audio}
    options: dict[str, Any] = {
        "target": target or None,
        "k": k,
        "where": where,
        "rerank": rerank,
        "min_relevance": min_relevance,
    }
    if template:
        options["templates"] = template
    if batch is not None and any(value is not None for value in (*one.values(), html)):
        raise typer.BadParameter("--batch goes with no TEXT, --image, --audio or --html")
    with open_index(locate_index(index), device=device, precision=precision) as opened:
        if batch is not None:
            from mmsearch.engine.batch import answers

            print_answers(answers(opened, batch, **options), options, as_json=json)
            return
        hits = opened.search(**one, **options)
    asked = one | options
    print_hits(asked, hits, as_json=json)
    if html:
        from mmsearch.present.gallery import Search, write_gallery

        write_gallery(html, [Search(asked, hits)], "mmsearch")
        say(f"wrote {html}")
