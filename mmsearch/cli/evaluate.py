"""Commands that judge: eval, eval-model."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import (
    DeviceOption,
    HubsOption,
    IndexOption,
    JsonOption,
    PrecisionOption,
    PreferOption,
    RerankOption,
    TargetOption,
    TemplateOption,
    TextColumns,
    WhereOption,
    preferences,
)
from mmsearch.cli.printing import (
    count_items,
    failure_lines,
    model_evaluation_lines,
    progress_bar,
    say,
)
from mmsearch.config import locate_index
from mmsearch.errors import one_line

if TYPE_CHECKING:
    from mmsearch.engine.evaluation import Evaluation

_SHOWN_NAMES = 5


def evaluate(
    queries: Annotated[
        Path, typer.Argument(help="A manifest of queries: text, image, audio; id; relevant.")
    ],
    qrels: Annotated[
        Path | None,
        typer.Option(help="TREC's file of what is relevant, instead of that column."),
    ] = None,
    target: TargetOption = None,
    template: TemplateOption = None,
    k: Annotated[int, typer.Option("-k", help="How many hits to look at, 10 or more.")] = 100,
    where: WhereOption = None,
    rerank: RerankOption = "convex",
    prefer: PreferOption = None,
    hubs: HubsOption = "nnn",
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Compare with this TREC run, such as --run has written."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was found as a TREC run.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw hit_at_k for all k as .png.")
    ] = None,
    json: JsonOption = False,
    index: IndexOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Measure how well an index answers queries of which you know what is relevant.

    Each query is searched for as `mmsearch query` does: hits, ranks, MRR, MAP and nDCG with 95 %
    intervals, what approximation costs, and the time of a query. docs/evaluation.md defines each.
    """
    from mmsearch.engine.evaluate import evaluate as judge
    from mmsearch.engine.opening import open_index
    from mmsearch.present.hit_curves import check_plot, plot_evaluation
    from mmsearch.present.run_file import write_run
    from mmsearch.present.standalone import check_folder

    if plot:
        check_plot(plot)
    if run:
        check_folder(run)
    with (
        open_index(locate_index(index), device=device, precision=precision) as opened,
        progress_bar("asking", lambda: count_items([str(queries)], ())) as progress,
    ):
        found = judge(
            opened,
            queries,
            qrels=qrels,
            target=target or None,
            k=k,
            where=where,
            rerank=rerank,
            prefer=preferences(prefer or ()),
            hubs=hubs,
            templates=template or (),
            against=against,
            progress=progress,
        )
    _print(found, as_json=json)
    for line in _remarks(found):
        say(line)
    if run:
        write_run(found, run)
    if plot:
        plot_evaluation(found, plot)


def _print(found: "Evaluation", *, as_json: bool) -> None:
    from mmsearch.present.evaluation import (
        evaluation_lines,
        evaluation_tables,
        evaluation_to_json,
    )

    if as_json:
        typer.echo(evaluation_to_json(found))
    elif sys.stdout.isatty():
        from rich.console import Console

        for table in evaluation_tables(found):
            Console().print(table)
    else:
        for line in evaluation_lines(found):
            typer.echo(line)


def _remarks(found: "Evaluation") -> Iterator[str]:
    """What a reader of the figures has to know."""
    if found.unjudged:
        yield f"{found.unjudged:,} queries have nothing relevant and were left out"
    if found.unasked:
        yield f"{found.unasked:,} queries of the qrels are not among the queries"
    if found.absent:
        names = ", ".join(map(one_line, found.absent[:_SHOWN_NAMES]))
        more = ", ..." if len(found.absent) > _SHOWN_NAMES else ""
        yield (
            f"{len(found.absent):,} relevant items are not in the index and count as not found: "
            f"{names}{more}"
        )
    if found.unanswered:
        run = one_line(found.against or "")
        yield f"{found.unanswered:,} queries are not in {run} and count as not found there"
    if found.failures:
        yield f"{len(found.failures):,} queries could not be asked"
    yield from failure_lines(found.failures, "--json")


def evaluate_model(
    pairs: Annotated[
        Path, typer.Argument(help="A manifest whose rows pair texts with a picture or a sound.")
    ],
    text: TextColumns = None,
    model: Annotated[str, typer.Option(help="The model to judge.")] = "mini",
    json: JsonOption = False,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Measure hit_at_1/5/10 of a model on pairs, both ways, by exact search."""
    from mmsearch.encode import load_model
    from mmsearch.engine.evaluate_model import evaluate_model as run

    judged = run(pairs, text_columns=text or (), model=load_model(model, device, precision))
    for line in model_evaluation_lines(judged, as_json=json):
        typer.echo(line)
