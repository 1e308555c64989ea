"""The expression language of ``--where`` (docs/where.md): sqlglot parses it, our SQL says it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.errors import UsageError
from mmsearch.store.columns import Column, Stored

if TYPE_CHECKING:
    from sqlglot import exp

_MAX_CHARS = 200_000  # sqlglot takes about 10 µs for each
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression in SQL over the table ``item``, with the values to bind."""

    sql: str
    values: tuple[Stored, ...]


def compile_where(expression: str, columns: Mapping[str, Column]) -> Condition:
    """Translate an expression.

    Args:
        expression: In the language of docs/where.md.
        columns: The columns that the index knows.

    Raises:
        UsageError: The expression is not in the language, names an unknown column, or compares
            a column with a constant of a kind that the column never held.
    """
    from mmsearch.store.where_sql import Compiler  # sqlglot takes 0.1 s to import

    compiler = Compiler(columns)
    try:
        sql = compiler.compile(_parse(expression))
    except RecursionError:
        raise UsageError("where: the expression is nested too deeply") from None
    return Condition(sql, tuple(compiler.values))


def _parse(expression: str) -> "exp.Expr":
    import sqlglot
    from sqlglot import errors, exp

    if len(expression) > _MAX_CHARS:
        raise UsageError(f"where: the expression has more than {_MAX_CHARS:,} characters")
    if not expression.strip():
        raise UsageError("where: the expression is empty")
    try:
        tree: exp.Expr = sqlglot.parse_one(expression, dialect="sqlite", into=exp.Condition)
    except errors.ParseError as error:
        raise UsageError(f"where: {_place(error.errors)}") from None
    except errors.TokenError:
        at = _QUOTED.sub(lambda match: "_" * len(match[0]), expression)
        opening = next((i for i, character in enumerate(at, 1) if character in "'\""), None)
        where = f"the quote at character {opening} is" if opening else "a quote or a comment is"
        raise UsageError(f"where: {where} never closed") from None
    if any(node.comments for node in tree.walk()):
        raise UsageError("where: an expression has no comments")
    return tree


def _place(details: list[dict[str, object]]) -> str:
    """Where sqlglot stopped; its own words name its classes, so they are left out."""
    if not details or not isinstance(details[0].get("col"), int):
        return "cannot read the expression"
    column, token = int(str(details[0]["col"])), str(details[0].get("highlight") or "")
    line = int(str(details[0].get("line") or 1))
    row = f"line {line}, " if line > 1 else ""
    start = max(column - len(token) + 1, 1)
    return f"cannot read the expression at {row}character {start}, at {token[:40]!r}"
