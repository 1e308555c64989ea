"""The command that makes approximate search keep a promise."""

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import FillDeviceOption, IndexOption, JsonOption
from mmsearch.cli.printing import say, tuned_lines
from mmsearch.config import locate_index


def tune(
    index: IndexOption = None,
    ann_recall: Annotated[
        float, typer.Option(help="Share of the 10 exact nearest to find, 0 to 1.")
    ] = 0.95,
    queries: Annotated[
        Path | None,
        typer.Option(help="Text queries as your users ask them, one a line, 400 at least."),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Other codes to try, a FAISS factory string; the fastest are kept. Repeatable."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; measure what is found now.")
    ] = False,
    search_device: FillDeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Find how little effort finds what exact search does, and search with it from now on.

    Each field is tuned for each kind of query: texts of a bank that comes along, or your own;
    pictures and sounds of the index itself. The figure is measured on fresh ones.
    """
    from mmsearch.engine.inputs import text_lines
    from mmsearch.engine.opening import open_index

    if check and recipe:
        raise typer.BadParameter("--check changes nothing: give no --recipe")
    texts = text_lines(queries) if queries else None
    with open_index(locate_index(index), search_device=search_device) as opened:
        if check:
            found = opened.check_tuning(queries=texts, progress=say)
        else:
            found = opened.tune(ann_recall, queries=texts, recipes=recipe or (), progress=say)
    for line in tuned_lines(found, checked=check, as_json=json):
        typer.echo(line)
    if any(one.tuning is None for one in found):
        raise typer.Exit(1)
