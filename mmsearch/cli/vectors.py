"""Commands for embeddings of other programs: add-vectors, export."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from mmsearch.cli.options import (
    FillDeviceOption,
    IndexOption,
    MemoryOption,
    RecipeOption,
    ReportOption,
)
from mmsearch.cli.printing import end_run, progress_bar, say
from mmsearch.config import locate_index

Kind: TypeAlias = Literal["text", "image", "audio"]


def add_vectors(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Folders of clip-retrieval; .npy, .npz, .parquet files."
        ),
    ],
    index: IndexOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model that made them, which a new index needs; see `mmsearch models`."
        ),
    ] = None,
    modality: Annotated[
        Kind, typer.Option(help="What the vectors of a single file stand for.")
    ] = "image",
    recipe: RecipeOption = None,
    memory: MemoryOption = None,
    report: ReportOption = None,
    search_device: FillDeviceOption = None,
) -> None:
    """Add embeddings that a model has made elsewhere; make the index if there is none.

    What is unchanged since the last run is skipped. Ctrl-C keeps what is finished.
    """
    from mmsearch.engine.inputs import absolute
    from mmsearch.engine.opening import open_for_vectors
    from mmsearch.records import Modality
    from mmsearch.sources.vectors import find_vectors

    # Refuse wrong paths and vectors that do not fit before an index is made.
    shards = [s for path in paths for s in find_vectors(absolute(path), Modality(modality))]
    total = sum(shard.count() for shard in shards)
    with (
        open_for_vectors(
            locate_index(index),
            shards,
            model=model,
            recipe=recipe,
            memory=memory,
            search_device=search_device,
        ) as opened,
        progress_bar("adding", lambda: total) as progress,
    ):
        done = opened.add_vectors(paths, modality=modality, progress=progress)
        items = opened.info().items
    end_run(done, items, opened.path, report)


def export(
    target: Annotated[
        Path, typer.Argument(help="A folder to make, as clip-retrieval's, or a .parquet file.")
    ],
    index: IndexOption = None,
    modality: Annotated[
        Kind | None, typer.Option(help="Which vectors, where the index holds several kinds.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Of which space, where texts have vectors in two.")
    ] = None,
) -> None:
    """Write an index's vectors, with what they stand for, for other programs."""
    from mmsearch.engine.opening import open_index

    with open_index(locate_index(index)) as opened:
        count = opened.export(target, modality=modality, space=space)
    say(f"{count:,} vectors in {target}")
