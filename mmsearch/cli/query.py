"""The command `mmsearch query`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mmsearch.cli.batch import print_answers
from mmsearch.cli.options import (
    DeviceOption,
    HubsOption,
    IndexOption,
    JsonOption,
    MapCodesOption,
    PrecisionOption,
    PreferOption,
    RerankOption,
    SearchDeviceOption,
    TargetOption,
    TemplateOption,
    WhereOption,
    preferences,
)
from mmsearch.cli.printing import print_hits, say
from mmsearch.config import locate_index

if TYPE_CHECKING:
    from mmsearch.engine.heat_map import HeatMap
    from mmsearch.engine.index import Index
    from mmsearch.records import Hit

_WEIGHT: Final = re.compile(r"(.*[^\d\s:]):(\d+(?:\.\d+)?)", re.DOTALL)


def query(
    text: Annotated[
        str | None,
        typer.Argument(help="What to look for; 'dog:2' counts twice beside pictures and sounds."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A picture to look for. Repeatable.")
    ] = None,
    audio: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A sound to look for. Repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="What is not wanted; 'people:1' counts double. Repeatable."
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Many queries instead: a text a line, or rows (.jsonl, .csv, .tsv) with text, "
            "image, audio, video, exclude, and id. - is stdin.",
        ),
    ] = None,
    target: TargetOption = None,
    template: TemplateOption = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    where: WhereOption = None,
    rerank: RerankOption = "convex",
    prefer: PreferOption = None,
    hubs: HubsOption = "nnn",
    min_relevance: Annotated[
        float, typer.Option(help="Leave out what is less likely to be relevant, 0 to 1.")
    ] = 0.0,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Show one of pictures that are nearly the same.")
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say why each hit stands where it does; with --html, show what of its picture "
            "fits the query.",
        ),
    ] = False,
    heat: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Save a heat map for each picture: what of it fits the query."
        ),
    ] = None,
    json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the hits as a page with pictures.")
    ] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    search_device: SearchDeviceOption = None,
    map_codes: MapCodesOption = False,
) -> None:
    """Find what fits a text, a picture, a sound, or several of them together.

    With --batch, each hit is a line that begins with its query's id, or each query a line of JSON.
    File names start at the folder of FILE, on stdin at the working directory. What cannot be asked
    is named on stderr, and has its reason in its line of JSON.
    """
    from mmsearch.engine.opening import open_index

    one = _asked(text, image, audio, exclude)
    options: dict[str, Any] = {
        "target": target or None,
        "k": k,
        "where": where,
        "rerank": rerank,
        "min_relevance": min_relevance,
        "dedupe": dedupe,
    }
    if prefer:
        options["prefer"] = preferences(prefer)
    if hubs != "nnn":
        options["hubs"] = hubs
    if template:
        options["templates"] = tuple(template)
    if batch is not None and (any(one.values()) or html or heat):
        raise typer.BadParameter(
            "--batch goes with no TEXT, --image, --audio, --exclude, --html or --heat"
        )
    with open_index(
        locate_index(index),
        device=device,
        precision=precision,
        search_device=search_device,
        map_codes=map_codes,
    ) as opened:
        if batch is not None:
            from mmsearch.engine.batch import answers

            print_answers(answers(opened, batch, **options), options, as_json=json)
            return
        hits = opened.search(**one, **options)
        asked = one | options
        print_hits(asked, hits, as_json=json, explained=explain)
        if not hits and min_relevance:
            probability = f"a probability of {min_relevance:g}"
            say(f"nothing is relevant with {probability}; lower --min-relevance")
        heats = _heat_maps(opened, hits, asked, heat) if heat or (html and explain) else {}
    if html:
        from mmsearch.present.gallery import Search, write_gallery

        painted = {rank: found.painted() for rank, found in heats.items()} if explain else {}
        write_gallery(html, [Search(asked, hits, heat=painted)], "mmsearch")
        say(f"wrote {html}")


def _heat_maps(
    index: "Index", hits: "Sequence[Hit]", asked: Mapping[str, Any], folder: Path | None
) -> "Mapping[int, HeatMap]":
    """Make the heat maps of hits, by rank, and save them if there is to be a folder of them."""
    from mmsearch.cli.heat import heat_maps, save_heat_maps
    from mmsearch.engine.query import Query

    names = ("text", "image", "audio", "weights", "exclude", "templates")
    query = Query(**{name: asked[name] for name in names if name in asked})
    found = heat_maps(index, hits, query, needed=folder is not None)
    if folder:
        save_heat_maps(folder, hits, found)
    return found


def _asked(
    text: str | None,
    images: Sequence[str] | None,
    sounds: Sequence[str] | None,
    excluded: Sequence[str] | None,
) -> dict[str, Any]:
    """The arguments of a search that say what is asked; one file stands alone."""
    asked: dict[str, Any] = {"text": text, "image": _alone(images), "audio": _alone(sounds)}
    if text is not None:
        asked["text"], weight = _weighted(text)
        if weight is not None:
            asked["weights"] = {"text": weight}
    if excluded:
        from mmsearch.engine.query import EXCLUSION_WEIGHT

        pairs = map(_weighted, excluded)
        asked["exclude"] = {said: weight or EXCLUSION_WEIGHT for said, weight in pairs}
    return asked


def _alone(files: Sequence[str] | None) -> Sequence[str] | None:
    """One file by itself, several as they are."""
    return files[0] if files and len(files) == 1 else files or None


def _weighted(text: str) -> tuple[str, float | None]:
    """A text and the weight behind its last colon; ``10:30`` has none."""
    match = _WEIGHT.fullmatch(text)
    return (match[1], float(match[2])) if match else (text, None)
