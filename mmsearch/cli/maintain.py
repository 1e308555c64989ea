"""Commands on an index that exists: info, remove, compact, verify, repair."""

from typing import Annotated

import typer

from mmsearch.cli.options import IndexOption, JsonOption
from mmsearch.cli.printing import damage_lines, info_lines, say
from mmsearch.config import locate_index


def info(index: IndexOption = None, json: JsonOption = False) -> None:
    """Show what an index holds and how it is searched."""
    from mmsearch.engine.opening import open_index

    with open_index(locate_index(index)) as opened:
        for line in info_lines(opened.info(), as_json=json):
            typer.echo(line)


def remove(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files, folders, manifests; they may be gone."),
    ],
    index: IndexOption = None,
) -> None:
    """Remove items from an index; the files themselves are left alone."""
    from mmsearch.engine.opening import open_index

    with open_index(locate_index(index)) as opened:
        count = opened.remove(paths)
    say(f"removed {count:,} items")
    if not count:
        raise typer.Exit(1)


def compact(index: IndexOption = None) -> None:
    """Merge segments and drop the vectors of removed items."""
    from mmsearch.engine.opening import open_index

    with open_index(locate_index(index)) as opened:
        before = opened.info().size_bytes
        opened.compact()
        after = opened.info().size_bytes
    say(f"compacted: {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now")


def verify(index: IndexOption = None) -> None:
    """Check every file and record of an index."""
    from mmsearch.engine.opening import verify as check

    folder = locate_index(index)
    damages = check(folder)
    for line in damage_lines(folder, damages):
        typer.echo(line)
    if damages:
        raise typer.Exit(1)


def repair(index: IndexOption = None) -> None:
    """Rebuild what can be rebuilt of a damaged index."""
    from mmsearch.engine.opening import repair as mend

    for line in mend(locate_index(index)):
        typer.echo(line)
