"""docs/cli.md, made from the help of the commands: `make docs` writes it, a test compares it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO

import typer

from mmsearch.cli.app import app, run

_WIDTH = "100"
_HEAD = """# Command line

Made from `mmsearch COMMAND --help` by `make docs`.

Exit codes: 0 done; 1 a runtime error, nothing found to index, or damage; 2 wrong usage; 130
interrupted. Results go to stdout, everything else to stderr: in a pipe a table becomes
tab-separated lines and there is no progress bar. `--debug` before a command shows tracebacks.

`--index` takes a name (a folder in `indexes/`, looked for from the working directory upwards) or a
path (anything with a `/`). The variable `MMSEARCH_INDEX` sets another default than `default`.
"""


def cli_reference() -> str:
    """Return the page."""
    sections = (
        f"## mmsearch {' '.join(command)}\n\n```\n{_help(command)}\n```\n"
        for command in _commands(app)
    )
    return "\n".join([_HEAD, *sections])


def _commands(of: typer.Typer, *before: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, those of groups last."""
    for command in of.registered_commands:
        if command.name:
            yield *before, command.name
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, *before, str(group.typer_instance.info.name))


def _help(command: Sequence[str]) -> str:
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = _WIDTH
    page = StringIO()
    with redirect_stdout(page):
        run([*command, "--help"])
    return page.getvalue().strip()


if __name__ == "__main__":
    print(cli_reference(), end="")  # noqa: T201
