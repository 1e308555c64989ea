"""docs/cli.md, made from the help of the commands: `make docs` writes it, a test compares it."""

import os
from contextlib import redirect_stdout
from io import StringIO

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
    names = [command.name for command in app.registered_commands if command.name]
    sections = (f"## mmsearch {name}\n\n```\n{_help(name)}\n```\n" for name in names)
    return "\n".join([_HEAD, *sections])


def _help(command: str) -> str:
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = _WIDTH
    page = StringIO()
    with redirect_stdout(page):
        run([command, "--help"])
    return page.getvalue().strip()


if __name__ == "__main__":
    print(cli_reference(), end="")  # noqa: T201
