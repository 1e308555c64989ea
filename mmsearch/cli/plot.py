"""The command `mmsearch plot`."""

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import IndexOption, WhereOption
from mmsearch.cli.printing import say
from mmsearch.config import locate_index
from mmsearch.errors import UsageError


def plot(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .png or .html file to write.")],
    method: Annotated[
        str, typer.Option(metavar="pca|umap", help="UMAP keeps neighbours together.")
    ] = "pca",
    color: Annotated[
        str, typer.Option(metavar="modality|COLUMN", help="What colours the points.")
    ] = "modality",
    limit: Annotated[
        int, typer.Option(help="How many vectors at most, evenly spaced over all.")
    ] = 5_000,
    where: WhereOption = None,
    space: Annotated[
        str | None,
        typer.Option(help="Which of the model's spaces. [default: the one with most vectors]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Where UMAP's random choices start.")] = 0,
    index: IndexOption = None,
    training: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Draw the curves of the training in this folder (its metrics.csv) instead, as "
            "PNG. Goes with no other option.",
        ),
    ] = None,
) -> None:
    """Draw an index's vectors in two dimensions, as a picture or as a page to look around in.

    On the .html page, names, texts and thumbnails appear under the pointer; it needs no network.
    Texts, pictures and sounds of one space often lie apart: that gap is the model's own, and drawn
    as it is. A .png needs matplotlib, UMAP umap-learn: pip install 'mmsearch[plot]'.
    """
    if training is not None:
        _refuse_others(context)
        from mmsearch.present.curves import plot_training

        plot_training(training, out)
        say(f"wrote {out}, {out.stat().st_size / 1e6:,.1f} MB")
        return
    from mmsearch.engine.opening import open_index
    from mmsearch.present.plot.draw import plot

    with open_index(locate_index(index)) as opened:
        found = opened.embeddings(space=space, limit=limit, where=where)
        spaces = opened.info().spaces
    plot(found, out, method=method, color=color, seed=seed)
    others = ", ".join(other.name for other in spaces if other.name != found.space)
    say(
        f"wrote {out}, {out.stat().st_size / 1e6:,.1f} MB: {len(found.chunks):,} of "
        f"{found.total:,} vectors of space {found.space}"
        + (f" (--space draws another: {others})" if others else "")
    )


def _refuse_others(context: typer.Context) -> None:
    """Refuse options that say what to draw of an index."""
    for name in context.params.keys() - {"out", "training"}:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--training draws no index: leave out --{name}")
