"""Options that several commands share."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

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
ModelOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The model of a new index; see `mmsearch models`. [default: mini]"),
]
RecipeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="FAISS factory string of a new index, such as IVF1024,PQ32. By size."),
]
MemoryOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Instead of --recipe, memory for the codes of a new index, such as 2GB.",
    ),
]
TextColumns: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--text", metavar="COLUMN", help="A manifest column that holds text to search. Repeatable."
    ),
]
ReportOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Write everything that was skipped, and why, to this JSON file."),
]
WhereOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="EXPRESSION", help="Condition on columns, such as \"lang = 'en'\"."),
]
TargetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="MODALITY",
        help="Find only text, image or audio. Repeatable. [default: all]",
    ),
]
RerankOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="SCORER",
        help="How hits are scored: convex, rrf, none for vectors alone; mlp, attention where "
        "trained; itm:CHECKPOINT, a cross-encoder; see docs/ranking.md.",
    ),
]
HubsOption: TypeAlias = Annotated[
    Literal["nnn", "qbnorm", "none"],
    typer.Option(
        metavar="WAY",
        help="How scores are corrected for hubs, near to any query: nnn, qbnorm or none.",
    ),
]
PreferOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--prefer",
        metavar="COLUMN",
        help="Put high values of a column first: 'rating:2' counts double, 'size:-1' prefers low "
        "ones. Repeatable.",
    ),
]
TemplateOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--template", help="A sentence around the words, such as 'a photo of {}'. Repeatable."
    ),
]
DeviceOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Such as cpu or cuda:1. [default: a GPU if there is one]")
]
SearchDeviceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Compare vectors on a GPU, such as cuda. [default: the CPU]"),
]
FillDeviceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--search-device", help="Train and fill lists on a GPU, such as cuda. [default: the CPU]"
    ),
]
MapCodesOption: TypeAlias = Annotated[
    bool,
    typer.Option("--map-codes", help="Leave codes on disk: for indexes larger than memory."),
]
PrecisionOption: TypeAlias = Annotated[
    Literal["fp32", "bf16"] | None,
    typer.Option(help="Of the model's products. [default: bf16 on a GPU, else fp32]"),
]
CompileOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the model's networks first: minutes, for long runs on a GPU."
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_WEIGHED: Final = re.compile(r"(.*?)(?::([-+]?\d+(?:\.\d+)?))?", re.DOTALL)


def preferences(prefer: Iterable[str]) -> dict[str, float]:
    """By column the weight behind its last colon, 1 by default."""
    found = {}
    for one in prefer:
        match = _WEIGHED.fullmatch(one)
        assert match  # any text does
        found[match[1]] = float(match[2] or 1)
    return found
