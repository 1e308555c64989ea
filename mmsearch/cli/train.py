"""Commands that train: align."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.options import TextColumns
from mmsearch.cli.printing import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmsearch.train.align import AlignReport

app = typer.Typer(
    name="train",
    help="Train models on your own pairs.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command("align")
def align(
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PAIRS...", help="Manifests whose rows have parts of two modalities."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the new model.")],
    model: Annotated[str, typer.Option(help="The base model, which stays as it is.")] = "mini",
    text: TextColumns = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Rows that agree in this column are never split up for the test."
        ),
    ] = None,
    head: Annotated[
        Literal["linear", "mlp", "residual"] | None,
        typer.Option(help="Shape of the heads. [default: residual where dims agree, else mlp]"),
    ] = None,
    loss: Annotated[
        Literal["infonce", "sigmoid", "triplet"], typer.Option(help="What holds pairs together.")
    ] = "infonce",
    similarity: Annotated[
        Literal["dot", "bilinear"], typer.Option(help="What compares embeddings.")
    ] = "dot",
    dim: Annotated[
        int | None, typer.Option(help="Dim of the new space. [default: the base's]")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pairs whose loss is taken together.")] = 512,
    part_size: Annotated[
        int | None, typer.Option(help="Pairs in memory at a time. [default: the batch]")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the pairs, at most.")] = 30,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-3,
    patience: Annotated[
        int, typer.Option(help="Evaluations without progress, of 20, that end the run.")
    ] = 5,
    seed: Annotated[int, typer.Option(help="Of the split, the start and the order.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="Such as cpu or cuda:1. [default: a GPU if there is one]")
    ] = None,
) -> None:
    """Fit heads on a model's frozen encoders, so that your pairs come close.

    The result is a model: `mmsearch index --model OUT`. A run that was stopped continues when it is
    started again. Exit code 1 if it did not help.
    """
    from mmsearch.encode.heads import HeadKind
    from mmsearch.train.align import Options, Similarity, train_align
    from mmsearch.train.losses import Loss

    options = Options(
        head=HeadKind(head) if head else None,
        loss=Loss(loss),
        similarity=Similarity(similarity),
        dim=dim,
        batch_size=batch_size,
        part_size=part_size,
        epochs=epochs,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
    )
    report = train_align(
        pairs,
        model=model,
        out=out,
        text_columns=text or (),
        group=group,
        options=options,
        device=device,
        tell=say,
    )
    for line in align_lines(report):
        typer.echo(line)
    if not report.helped:
        raise typer.Exit(1)


def align_lines(report: "AlignReport") -> "Iterator[str]":
    """Return what `train align` prints: figures before and after, and whether it helped."""
    names = " ".join(f"{name:>6}" for name in ("mrr", "hit@1", "hit@5", "hit@10"))
    yield f"{'direction':14} {'queries':>8} {'':6} {names}"
    for row in report.rows():
        lines = [("before", row["before"]), ("after", row["after"])]
        for name, figures in lines:
            if figures is not None:
                values = " ".join(f"{value:>6.3f}" for value in figures.values())
                yield f"{row['direction']:14} {row['queries']:>8,} {name:6} {values}"
        yield f"{'':14} {'':8} {row['verdict']}"
    if report.failures:
        yield f"{len(report.failures):,} rows or files could not be used; see report.json"
    if report.helped:
        yield f"it helped; use it with: mmsearch index PATH --model {report.folder}"
    else:
        yield "it did not help: on held-out pairs the base model is as good; keep that"
