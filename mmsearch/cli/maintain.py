"""Commands on an index that exists: info, remove, compact, reencode, verify, repair."""

from typing import Annotated

import typer

from mmsearch.cli.options import (
    CompileOption,
    DeviceOption,
    FillDeviceOption,
    IndexOption,
    JsonOption,
    PrecisionOption,
    ReportOption,
)
from mmsearch.cli.printing import (
    damage_lines,
    info_lines,
    progress_bar,
    reencode_lines,
    say,
    write_report,
)
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


def compact(index: IndexOption = None, search_device: FillDeviceOption = None) -> None:
    """Merge segments and drop the vectors of removed items."""
    from mmsearch.engine.opening import open_index

    with open_index(locate_index(index), search_device=search_device) as opened:
        before = opened.info().size_bytes
        opened.compact()
        after = opened.info().size_bytes
    say(f"compacted: {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now")


def reencode(
    index: IndexOption = None,
    model: Annotated[
        str | None,
        typer.Option(help="See `mmsearch models`. [default: the installed one of the same name]"),
    ] = None,
    drop_missing: Annotated[
        bool,
        typer.Option("--drop-missing", help="Leave out what cannot be read or embedded any more."),
    ] = False,
    report: ReportOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    compile: CompileOption = False,
) -> None:
    """Move an index to another model, from the files that it was made of.

    It can be searched and added to with the old model until all is done. After Ctrl-C or a crash
    the same command continues.
    """
    from mmsearch.decode import quiet_native_libraries
    from mmsearch.engine.opening import open_index

    where = locate_index(index)
    with (
        quiet_native_libraries(),
        open_index(where, device=device, precision=precision, compile=compile) as opened,
    ):
        before = opened.info()
        with progress_bar("encoding", lambda: before.items) as progress:
            done = opened.reencode(model, drop_missing=drop_missing, progress=progress)
        after = opened.info()
    if report:
        write_report(report, done)
    for line in reencode_lines(done, before, after):
        say(line)
    if done.interrupted:
        raise typer.Exit(130)
    if done.missing:
        raise typer.Exit(1)


def doctor() -> None:
    """Look at versions, devices, downloads and speed, and say what to mend."""
    from mmsearch.engine.doctor import examine

    for finding in examine():
        typer.echo(f"{finding.name:10} {finding.found}")
        if finding.advice:
            typer.echo(f"{'':10} → {finding.advice}")


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
