"""Commands about models: models, models pull."""

from collections.abc import Iterator
from typing import Annotated

import typer

from mmsearch.cli.printing import say

app = typer.Typer(name="models", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that `--model` takes."""
    if context.invoked_subcommand is None:
        for line in model_lines():
            typer.echo(line)


@app.command("pull")
def pull(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="See `mmsearch models`.")],
) -> None:
    """Download a model's files, so that it works without a network from then on."""
    from mmsearch.encode import load_model

    loaded = load_model(model)
    for space in loaded.spaces:  # what describes a space is read from all its files
        say(f"{space.checkpoint}: here, {space.dim} dimensions, weights {space.sha256[:12]}")


def model_lines() -> Iterator[str]:
    """Return what `models` prints."""
    from mmsearch.encode.presets import PRESETS
    from mmsearch.encode.registry import NAMES

    for preset in PRESETS.values():
        yield f"{preset.name:8} {preset.good_for}"
        if preset.model != preset.name:
            yield f"{'':8}   {preset.model}"
        yield f"{'':8}   dims {preset.dims}; licence {preset.licence}; download {preset.size}"
    yield f"or: {', '.join(NAMES)}; pairs are joined with +"
