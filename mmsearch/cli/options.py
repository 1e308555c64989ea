"""Options that several commands share."""

from typing import Annotated, TypeAlias

import typer

IndexOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="NAME|PATH",
        envvar="MMSEARCH_INDEX",
        help="The index: a name in indexes/, or a path. [default: default]",
        show_default=False,
    ),
]
TextColumns: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--text", metavar="COLUMN", help="A manifest column that holds text to search. Repeatable."
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
