"""Commands that make indexes: index, demo."""

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import (
    CompileOption,
    DeviceOption,
    FillDeviceOption,
    IndexOption,
    MemoryOption,
    ModelOption,
    PrecisionOption,
    RecipeOption,
    ReportOption,
    TextColumns,
)
from mmsearch.cli.printing import count_items, end_run, progress_bar
from mmsearch.config import locate_index


def index(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders, manifests (.jsonl, .csv).", metavar="PATH..."),
    ],
    index: IndexOption = None,
    model: ModelOption = None,
    recipe: RecipeOption = None,
    memory: MemoryOption = None,
    text: TextColumns = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove items below PATH whose file has vanished.")
    ] = False,
    report: ReportOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    compile: CompileOption = False,
    search_device: FillDeviceOption = None,
) -> None:
    """Add files to an index; make the index if there is none.

    What is unchanged since the last run is skipped. Ctrl-C keeps what is finished.
    """
    from mmsearch.decode import quiet_native_libraries
    from mmsearch.engine.opening import open_or_create
    from mmsearch.sources import find_items

    find_items(paths, text_columns=text or ())  # refuse wrong paths before an index is made
    with (
        quiet_native_libraries(),
        open_or_create(
            locate_index(index),
            model=model,
            recipe=recipe,
            memory=memory,
            device=device,
            precision=precision,
            compile=compile,
            search_device=search_device,
        ) as opened,
        progress_bar("indexing", lambda: count_items(paths, text or ())) as progress,
    ):
        done = opened.add(paths, text_columns=text or (), prune=prune, progress=progress)
        items = opened.info().items
    end_run(done, items, opened.path, report)


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to put the demo's files, index and page.")
    ] = Path("mmsearch-demo"),
) -> None:
    """Index photographs, sounds and texts that come along, search them, write a gallery."""
    from mmsearch.present.demo.run import run_demo

    for line in run_demo(folder):
        typer.echo(line)
