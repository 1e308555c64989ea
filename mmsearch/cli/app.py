"""The commands and what surrounds them: options for all, errors, exit codes."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mmsearch.cli import evaluate, maintain, make, models, plot, query, train, tune, vectors
from mmsearch.cli.printing import error_line
from mmsearch.errors import MMSearchError, UsageError

# Typer brings its own copy of click; these are its UsageError and ClickException.
_WrongUsage: type[Exception] = typer.BadParameter.__mro__[1]
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="mmsearch",
    help="Search your pictures, texts and sounds with any of them.",
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich would double its start-up time
    pretty_exceptions_enable=False,
)
app.command("index")(make.index)
app.command("query")(query.query)
app.command("plot")(plot.plot)
app.command("add-vectors")(vectors.add_vectors)
app.command("export")(vectors.export)
app.command("info")(maintain.info)
app.command("remove")(maintain.remove)
app.command("compact")(maintain.compact)
app.command("tune")(tune.tune)
app.command("reencode")(maintain.reencode)
app.command("verify")(maintain.verify)
app.command("repair")(maintain.repair)
app.command("eval")(evaluate.evaluate)
app.command("eval-model")(evaluate.evaluate_model)
app.command("doctor")(maintain.doctor)
app.command("demo")(make.demo)
app.add_typer(train.app)
app.add_typer(models.app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mmsearch {version('mmsearch')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Search your pictures, texts and sounds with any of them."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code."""
    debug = "--debug" in arguments
    try:
        code = app(list(arguments) or ["--help"], prog_name="mmsearch", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (MMSearchError, _ClickError, OSError, MemoryError) as error:
        if debug:
            raise
        usage = isinstance(error, UsageError | _WrongUsage)
        # Typer checks options by pydantic, which puts "Value error, " before what is wrong.
        message = getattr(error, "format_message", error.__str__)().replace("Value error, ", "")
        return _failed(message or type(error).__name__, 2 if usage else 1)


def _failed(message: str, code: int) -> int:
    print(error_line(message), file=sys.stderr)  # noqa: T201
    return code
