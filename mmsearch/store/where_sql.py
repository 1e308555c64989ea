"""The SQL of a parsed ``--where`` expression: a walk over sqlglot's tree.

Nothing of the expression reaches SQLite as text: columns are named by number, constants are bound.
A node of the tree that is not named here is refused, and so is an argument of a node.
"""

from collections.abc import Callable, Iterable, Mapping

from sqlglot import exp

from mmsearch.errors import UsageError
from mmsearch.store.columns import (
    TYPEOF,
    Column,
    Kind,
    Stored,
    StoredScalar,
    find_column,
    kind_of,
    stored,
    stored_scalar,
)

_MAX_TESTS = 200  # SQLite's expressions end at a depth of 1,000
_MAX_CONSTANTS = 10_000  # SQLite binds at most 32,766
_MAX_PATTERN_CHARS = 1_000
_PLURAL = {Kind.NUMBER: "numbers", Kind.TEXT: "texts", Kind.LIST: "lists"}
_MIRRORED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Compiler:
    """Walks a parse tree and collects the values to bind, in the order of their marks."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.values: list[Stored] = []
        self._columns = columns
        self._tests = 0
        self._handlers: dict[type[exp.Expr], Callable[..., str]] = {
            exp.Paren: lambda node: f"({self.compile(node.this)})",
            exp.Not: lambda node: f"(NOT {self.compile(node.this)})",
            exp.And: lambda node: self._both(node, "AND"),
            exp.Or: lambda node: self._both(node, "OR"),
            exp.EQ: lambda node: self._compare(node, "="),
            exp.NEQ: lambda node: self._compare(node, "!="),
            exp.LT: lambda node: self._compare(node, "<"),
            exp.LTE: lambda node: self._compare(node, "<="),
            exp.GT: lambda node: self._compare(node, ">"),
            exp.GTE: lambda node: self._compare(node, ">="),
            exp.Between: self._between,
            exp.In: self._in,
            exp.Is: self._is_null,
            exp.Like: self._like,
            exp.Escape: self._like_escape,
        }

    def compile(self, node: exp.Expr) -> str:
        """SQL that is true, false or NULL for a row."""
        handler = self._handlers.get(type(node))
        if handler is None:
            raise _refused(node)
        if not isinstance(node, (exp.Paren, exp.Connector, exp.Not)):
            self._tests += 1
            if self._tests > _MAX_TESTS:
                raise UsageError(
                    f"where: more than {_MAX_TESTS} tests; use IN (...) for many values"
                )
        return handler(node)

    def _both(self, node: exp.Expr, operator: str) -> str:
        """A chain of AND or OR, without recursing into its left side."""
        kind, parts = type(node), [node.expression]
        left = node.this
        while type(left) is kind:
            parts.append(left.expression)
            left = left.this
        parts.append(left)
        return "(" + f" {operator} ".join(self.compile(part) for part in reversed(parts)) + ")"

    def _compare(self, node: exp.Expr, operator: str) -> str:
        left, right = _only(node, "this", "expression")
        if not isinstance(left, exp.Column) and isinstance(right, exp.Column):
            left, right, operator = right, left, _MIRRORED[operator]
        column, value = self._column(left), self._constant(right)
        return self._by_kind(
            column, [value], lambda _: f"{column.sql} {operator} {self._bind(value)}"
        )

    def _between(self, node: exp.Expr) -> str:
        this, low, high = _only(node, "this", "low", "high")
        column, ends = self._column(this), [self._constant(low), self._constant(high)]
        if kind_of(ends[0]) is not kind_of(ends[1]):
            raise UsageError("where: BETWEEN needs two numbers or two texts")
        return self._by_kind(
            column,
            ends,
            lambda _: f"{column.sql} BETWEEN {self._bind(ends[0])} AND {self._bind(ends[1])}",
        )

    def _in(self, node: exp.Expr) -> str:
        if node.args.get("field") is not None:
            this, field = _only(node, "this", "field")
            return self._contains(self._column(field), self._constant(this))
        constants = [self._constant(each) for each in node.expressions]
        column = self._column(_only(node, "this", ignored="expressions")[0])
        if not constants:
            raise UsageError("where: IN () has no values")
        return self._by_kind(
            column,
            constants,
            lambda kind: (
                f"{column.sql} IN ("
                + ", ".join(self._bind(c) for c in constants if kind_of(c) is kind)
                + ")"
            ),
        )

    def _contains(self, column: Column, value: StoredScalar) -> str:
        """Membership; a column value that is not a list counts as a list of one."""
        if Kind.LIST not in column.kinds:
            return f"{column.sql} = {self._bind(value)}"
        listed = f"instr({column.sql}, {self._bind(stored((value,)))}) > 0"
        if column.kinds == Kind.LIST:
            return listed
        single = f"{column.sql} = {self._bind(value)}"
        return f"CASE WHEN typeof({column.sql}) = 'blob' THEN {listed} ELSE {single} END"

    def _is_null(self, node: exp.Expr) -> str:
        this, right = _only(node, "this", "expression")
        if not isinstance(right, exp.Null):
            raise UsageError("where: IS goes with NULL or NOT NULL only; compare with =")
        return f"{self._column(this).sql} IS NULL"

    def _like(self, node: exp.Expr, escape: str = "") -> str:
        this, right = _only(node, "this", "expression", ignored="negate")
        column, pattern = self._column(this), self._constant(right)
        if not isinstance(pattern, str) or len(pattern) > _MAX_PATTERN_CHARS:
            raise UsageError(f"where: LIKE needs a text of at most {_MAX_PATTERN_CHARS} characters")
        negation = "NOT " if node.args.get("negate") else ""  # newer versions fold NOT into LIKE
        return self._by_kind(
            column,
            [pattern],
            lambda _: f"{column.sql} {negation}LIKE {self._bind(pattern)}{self._escape(escape)}",
        )

    def _like_escape(self, node: exp.Expr) -> str:
        like, right = _only(node, "this", "expression")
        escape = self._constant(right)
        if not isinstance(like, exp.Like) or not isinstance(escape, str) or len(escape) != 1:
            raise UsageError("where: ESCAPE needs a LIKE and one character")
        return self._like(like, escape)

    def _escape(self, escape: str) -> str:
        return f" ESCAPE {self._bind(escape)}" if escape else ""

    def _by_kind(
        self, column: Column, constants: Iterable[StoredScalar], test: Callable[[Kind], str]
    ) -> str:
        """A test that is NULL for values of a kind that no constant has."""
        kinds = list(dict.fromkeys(kind_of(constant) for constant in constants))
        for constant in constants:
            _check_kind(column, constant)
        if [column.kinds] == kinds or not column.kinds:
            return test(kinds[0])
        cases = (f" WHEN typeof({column.sql}) IN ({TYPEOF[k]}) THEN {test(k)}" for k in kinds)
        return f"CASE{''.join(cases)} END"

    def _column(self, node: object) -> Column:
        if not isinstance(node, exp.Column):
            raise UsageError(
                f"where: {_shown(node)} should be a column; names go bare or in double quotes,"
                " texts in single quotes"
            )
        if any(node.args.get(part) for part in ("table", "db", "catalog")):
            raise UsageError(f"where: write the name {_shown(node)} in double quotes")
        return find_column(node.name, self._columns, "where")

    def _constant(self, node: object) -> StoredScalar:
        if isinstance(node, exp.Null):
            raise UsageError("where: NULL goes with IS or IS NOT only")
        if isinstance(node, exp.Boolean):
            return int(node.this)
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
            if not node.this.is_string:
                return stored_scalar(-_number(node.this.this))
        if isinstance(node, exp.Literal):
            return stored_scalar(node.this if node.is_string else _number(node.this))
        hint = "; texts go in single quotes" if isinstance(node, exp.Column) else ""
        raise UsageError(f"where: {_shown(node)} should be a number, a text, TRUE or FALSE{hint}")

    def _bind(self, value: Stored) -> str:
        if len(self.values) >= _MAX_CONSTANTS:
            raise UsageError(f"where: more than {_MAX_CONSTANTS:,} constants")
        self.values.append(value)
        return "?"


def _only(node: exp.Expr, *names: str, ignored: str = "") -> list[exp.Expr]:
    """A node's arguments by name; refuses a node that has others."""
    given = {name for name, value in node.args.items() if value not in (None, False, [])}
    if not set(names) <= given <= {*names, ignored}:
        raise _refused(node)
    return [node.args[name] for name in names]


def _number(text: str) -> int | float:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise UsageError(f"where: {text[:40]!r} is not a number") from None


def _check_kind(column: Column, constant: StoredScalar) -> None:
    kind = kind_of(constant)
    if not column.kinds or kind in column.kinds:
        return
    holds = " and ".join(_PLURAL[each] for each in Kind if each in column.kinds)
    shown = repr(constant)[:60]
    hint = f"; write {shown} IN {column.name}" if column.kinds == Kind.LIST else ""
    raise UsageError(
        f"where: column {column.name!r} holds {holds}, not {_PLURAL[kind]} like {shown}{hint}"
    )


def _shown(node: object) -> str:
    text = " ".join(str(node).split())
    return text if len(text) <= 40 else text[:37] + "..."


def _refused(node: exp.Expr) -> UsageError:
    return UsageError(
        f"where: {_shown(node)} is not a test; tests are = != < <= > >= IN BETWEEN LIKE IS NULL,"
        " joined by AND OR NOT"
    )
