"""Commands that judge: eval, eval-model."""

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import DeviceOption, JsonOption, PrecisionOption, TextColumns
from mmsearch.cli.printing import model_evaluation_lines


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
