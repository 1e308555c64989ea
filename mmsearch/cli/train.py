"""Commands that train: align, towers, fusion."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from mmsearch.cli.options import DeviceOption, IndexOption, JsonOption, TargetOption, TextColumns
from mmsearch.cli.printing import failure_lines, say
from mmsearch.cli.train_printing import align_lines, fusion_lines, towers_lines
from mmsearch.config import locate_index

if TYPE_CHECKING:
    from collections.abc import Iterator

PairsArgument: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="PAIRS...", help="Manifests whose rows have parts of two modalities."),
]
OutOption: TypeAlias = Annotated[Path, typer.Option(help="Folder for the new model.")]
GroupOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="Rows that agree in this column are never split up for the test."
    ),
]
LossOption: TypeAlias = Annotated[
    Literal["infonce", "sigmoid", "triplet"], typer.Option(help="What holds pairs together.")
]
BatchSizeOption: TypeAlias = Annotated[
    int, typer.Option(help="Pairs whose loss is taken together.")
]
PartSizeOption: TypeAlias = Annotated[
    int | None, typer.Option(help="Pairs in memory at a time. [default: the batch]")
]
EpochsOption: TypeAlias = Annotated[int, typer.Option(help="Passes over the pairs, at most.")]
LearningRateOption: TypeAlias = Annotated[float, typer.Option(help="The highest learning rate.")]
PatienceOption: TypeAlias = Annotated[
    int,
    typer.Option(help="Evaluations, of up to 20, without progress that end the run."),
]
SeedOption: TypeAlias = Annotated[int, typer.Option(help="Of the split, the start and the order.")]

app = typer.Typer(
    name="train",
    help="Train models on your own pairs.",
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("align")
def align(
    pairs: PairsArgument,
    out: OutOption,
    model: Annotated[str, typer.Option(help="The base model, which stays as it is.")] = "mini",
    text: TextColumns = None,
    group: GroupOption = None,
    head: Annotated[
        Literal["linear", "mlp", "residual"] | None,
        typer.Option(help="Shape of the heads. [default: residual where dims agree, else mlp]"),
    ] = None,
    loss: LossOption = "infonce",
    similarity: Annotated[
        Literal["dot", "bilinear", "mlp", "cross"],
        typer.Option(help="What compares embeddings; mlp and cross re-rank candidates."),
    ] = "dot",
    dim: Annotated[
        int | None, typer.Option(help="Dim of the new space. [default: the base's]")
    ] = None,
    batch_size: BatchSizeOption = 512,
    part_size: PartSizeOption = None,
    epochs: EpochsOption = 30,
    learning_rate: LearningRateOption = 1e-3,
    patience: PatienceOption = 5,
    seed: SeedOption = 0,
    device: DeviceOption = None,
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
    with _stoppable():
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


@app.command("towers")
def towers(
    pairs: PairsArgument,
    out: OutOption,
    text: TextColumns = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Names what is seen or heard; becomes a text."),
    ] = None,
    group: GroupOption = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|FOLDER",
            help="Learn from a model's embeddings too, or from arrays: image.npy, text.npy, ...",
        ),
    ] = None,
    image_tower: Annotated[
        Literal["convolution", "vit"], typer.Option(help="The network for pictures.")
    ] = "convolution",
    text_tower: Annotated[
        Literal["table", "gru", "transformer"],
        typer.Option(help="The network for texts; a table needs no torch to embed."),
    ] = "table",
    sound: Annotated[
        Literal["log-mel", "mfcc"], typer.Option(help="What the network for sounds is given.")
    ] = "log-mel",
    width: Annotated[
        int, typer.Option(help="Of the first layers, on which all widths depend.")
    ] = 64,
    side: Annotated[int, typer.Option(help="Pixels that pictures are squeezed to.")] = 112,
    dim: Annotated[int, typer.Option(help="Dim of the space.")] = 256,
    loss: LossOption = "infonce",
    mixup: Annotated[
        float, typer.Option(help="How much pictures and sounds are mixed; 0 for not at all.")
    ] = 0.2,
    distillation: Annotated[
        float, typer.Option(help="Weight of the teacher, beside the pairs.")
    ] = 1.0,
    batch_size: BatchSizeOption = 256,
    part_size: PartSizeOption = None,
    epochs: EpochsOption = 40,
    learning_rate: LearningRateOption = 1e-3,
    patience: PatienceOption = 5,
    seed: SeedOption = 0,
    device: DeviceOption = None,
) -> None:
    """Train compact towers for your pairs from scratch.

    The result is a model: `mmsearch index --model OUT`. A run that was stopped continues when it is
    started again.
    """
    from mmsearch.encode.towers.shapes import ImageTower, SoundFeatures, TextTower
    from mmsearch.train.losses import Loss
    from mmsearch.train.towers import Options, train_towers

    options = Options(
        image_tower=ImageTower(image_tower),
        text_tower=TextTower(text_tower),
        sound=SoundFeatures(sound),
        width=width,
        side=side,
        dim=dim,
        loss=Loss(loss),
        mixup=mixup,
        distillation=distillation,
        batch_size=batch_size,
        part_size=part_size,
        epochs=epochs,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
    )
    with _stoppable():
        report = train_towers(
            pairs,
            out=out,
            text_columns=text or (),
            label=label,
            group=group,
            teacher=teacher,
            options=options,
            device=device,
            tell=say,
        )
    for line in towers_lines(report):
        typer.echo(line)


@app.command("fusion")
def fusion(
    pairs: Annotated[
        Path,
        typer.Option(help="A manifest of queries, as for `mmsearch eval`: a click a row will do."),
    ],
    scorer: Annotated[
        Literal["mlp", "attention"],
        typer.Option(help="What judges: signals of one candidate, or of all, and embeddings."),
    ] = "mlp",
    target: TargetOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
    index: IndexOption = None,
    device: DeviceOption = None,
) -> None:
    """Fit a fusion scorer to an index's queries, of which you know what is relevant.

    It is stored in the index, for --rerank, if it is better than the default on queries that were
    held out. Exit code 1 if it is not.
    """
    from mmsearch.engine.opening import open_index
    from mmsearch.train.fusion import train_fusion

    with open_index(locate_index(index), device=device) as opened:
        report = train_fusion(
            opened, pairs, scorer=scorer, target=target or None, seed=seed, tell=say
        )
    for line in fusion_lines(report, as_json=json):
        typer.echo(line)
    for line in failure_lines(report.failures, "--json"):
        say(line)
    if not report.helped:
        raise typer.Exit(1)


@contextmanager
def _stoppable() -> "Iterator[None]":
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; the same command continues")
        raise typer.Exit(130) from None
