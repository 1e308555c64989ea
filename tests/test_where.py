"""The expression language of --where, against a model in plain Python."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import UsageError
from mmsearch.records import ColumnValue, Scalar
from mmsearch.store.catalog import Catalog, CatalogItem
from mmsearch.store.catalog_writer import CatalogWriter
from mmsearch.store.columns import MAX_COLUMNS

Row: TypeAlias = Mapping[str, ColumnValue]
Truth: TypeAlias = bool | None
Test: TypeAlias = Callable[[Row], Truth]


class Pair:
    """A writer and a reader on one file."""

    def __init__(self, path: Path) -> None:
        self.writer = CatalogWriter(path)
        self.reader = Catalog(path)

    def load(self, rows: list[Row]) -> None:
        self.writer.rebuild((CatalogItem(i, row, ()) for i, row in enumerate(rows)), 1)

    def where(self, expression: str) -> list[int]:
        return [int(i) for i in self.reader.where(expression)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("where") / "catalog.sqlite")
    yield pair
    pair.reader.close()
    pair.writer.close()


PHOTOS: list[Row] = [
    {"lang": "en", "year": 2020, "tags": ("beach", "dog"), "flag": True, "mixed": 5},
    {"lang": "de", "year": 2021.5, "tags": (), "flag": False, "mixed": "five"},
    {"lang": None, "year": float("nan"), "tags": ("Beach", 7, 0.1, None), "mixed": ("five", 5)},
    {"my col": "it's", 'q"uote': "100%", "lang": "EN", "year": -(2**70)},
]


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("lang = 'en'", [0]),
        ("lang != 'en'", [1, 3]),
        ("NOT lang = 'en'", [1, 3]),
        ("lang IS NULL", [2]),
        ("lang IS NOT NULL AND NOT (lang = 'en' OR lang = 'de')", [3]),
        ("year > 2020", [1]),
        ("2020 <= year", [0, 1]),
        ("year < -5", [3]),
        ("year BETWEEN 2020 AND 2021", [0]),
        ("year NOT BETWEEN 2020 AND 2021", [1, 3]),
        ("lang BETWEEN 'a' AND 'e'", [1]),
        ("lang IN ('de', 'en')", [0, 1]),
        ("lang NOT IN ('de', 'en')", [3]),
        ("lang LIKE 'e_'", [0, 3]),
        ("lang NOT LIKE 'E%'", [1]),
        ("NOT lang LIKE 'E%'", [1]),
        ("\"q\"\"uote\" LIKE '%!%' ESCAPE '!'", [3]),
        ("\"q\"\"uote\" NOT LIKE 'x!%' ESCAPE '!'", [3]),
        ("\"my col\" = 'it''s'", [3]),
        ("'beach' IN tags", [0]),
        ("NOT 'beach' IN tags", [1, 2]),
        ("'beach' NOT IN tags", [1, 2]),
        ("7 IN tags OR 'dog' IN tags", [0, 2]),
        ("0.1 IN tags AND 7.0 IN tags", [2]),
        ("'bea' IN tags", []),
        ("tags IS NULL", [3]),
        ("flag = TRUE", [0]),
        ("flag = 0", [1]),
        ("mixed = 5", [0]),
        ("mixed != 5", []),
        ("mixed IN (5, 'five')", [0, 1]),
        ("5 IN mixed", [0, 2]),
        ("mixed > 1 OR mixed > 'a'", [0, 1]),
    ],
)
def test_language(pair: Pair, expression: str, ids: list[int]) -> None:
    pair.load(PHOTOS)
    assert pair.where(expression) == ids
    assert pair.reader.where(expression).dtype == np.int64


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("lan = 'en'", r"no column 'lan'; there are lang, flag"),
        ("LANG = 'en'", r"no column 'LANG'; there are lang,"),
        ("lang = ", "cannot read the expression at character 6, at '='"),
        ("lang = 'a'\n AND )", "at line 2, character 6, at '\\)'"),
        ("lang = 'en", "the quote at character 8 is never closed"),
        ("lang = 'en' /* x", "a quote or a comment is never closed"),
        ("", "the expression is empty"),
        ("lang = 'en' -- AND year = 1", "no comments"),
        ("lang = 'en'; DROP TABLE item", "at character 14, at 'DROP'"),
        ("year = '2020'", "column 'year' holds numbers, not texts like '2020'"),
        ("lang LIKE 5", "LIKE needs a text"),
        ("tags = 'dog'", "column 'tags' holds lists, not texts like 'dog'; write 'dog' IN tags"),
        ("lang = NULL", "NULL goes with IS"),
        ("lang IS TRUE", "IS goes with NULL"),
        ('lang = "en"', "texts go in single quotes"),
        ("lang = year", "texts go in single quotes"),
        ("year", "is not a test"),
        ("year + 1 = 2", "should be a column"),
        ("length(lang) = 2", "should be a column"),
        ("lang = upper('en')", "should be a number, a text"),
        ("lang IN (SELECT name FROM column_name)", "is not a test"),
        ("EXISTS (SELECT 1)", "is not a test"),
        ("CAST(year AS TEXT) = '1'", "should be a column"),
        ("lang COLLATE nocase = 'EN'", "should be a column"),
        ("item.lang = 'en'", "write the name item.lang in double quotes"),
        ("year = ?", "should be a number"),
        ("year = @x", "should be a number"),
        ("year BETWEEN 1 AND 'x'", "two numbers or two texts"),
        ("lang LIKE 'a' ESCAPE 'ab'", "ESCAPE needs"),
        ("lang IN ()", "where: "),
        ("(" * 400 + "year = 1" + ")" * 400, "nested too deeply"),
        ("NOT " * 5000 + "year = 1", "nested too deeply"),
        (" OR ".join(["year = 1"] * 201), "more than 200 tests"),
        (f"year IN ({','.join(['1'] * 10_001)})", "more than 10,000 constants"),
        (f"lang LIKE '{'%a' * 600}'", "at most 1000 characters"),
        ("year = " + "1" * 200_001, "more than 200,000 characters"),
    ],
)
def test_refusals(pair: Pair, expression: str, message: str) -> None:
    pair.load(PHOTOS)
    with pytest.raises(UsageError, match=message) as caught:
        pair.where(expression)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_long_but_allowed(pair: Pair) -> None:
    pair.load(PHOTOS)
    assert pair.where(" OR ".join(["year = 2020"] * 200)) == [0]
    assert pair.where(f"year IN ({','.join(map(str, range(9_999)))})") == [0]
    assert pair.where("(" * 20 + "year = 2020" + ")" * 20) == [0]


def test_no_columns_at_all(pair: Pair) -> None:
    pair.load([{}])
    with pytest.raises(UsageError, match="have no columns"):
        pair.where("lang = 'en'")


def test_more_columns_than_sqlite_holds(pair: Pair) -> None:
    pair.load([{f"n{i}": i for i in range(MAX_COLUMNS + 50)}])
    assert pair.where(f"n{MAX_COLUMNS - 1} = {MAX_COLUMNS - 1}") == [0]
    with pytest.raises(UsageError, match="only the first 500 of this index's 550 columns"):
        pair.where(f"n{MAX_COLUMNS} = 1")


def test_sqlglot_is_loaded_by_where_only() -> None:
    code = "import sys, mmsearch.store.catalog_writer; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------- the model in plain Python

SCALARS: list[Scalar] = [
    None,
    True,
    False,
    0,
    1,
    -2,
    0.5,
    1.0,
    2**62,
    "",
    "a",
    "A",
    "ab%",
    "é",
    "1",
]
values = st.sampled_from(SCALARS) | st.lists(st.sampled_from(SCALARS), max_size=3).map(tuple)
rows = st.lists(st.dictionaries(st.sampled_from(["x", "y", "z z"]), values), min_size=1, max_size=6)
constants = st.sampled_from([scalar for scalar in SCALARS if scalar is not None])


def kind(value: ColumnValue) -> str:
    if isinstance(value, tuple):
        return "list"
    return "text" if isinstance(value, str) else "number"


def literal(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def on_kind(name: str, among: set[str], test: Callable[[ColumnValue], bool]) -> Test:
    def truth(row: Row) -> Truth:
        value = row.get(name)
        return None if value is None or kind(value) not in among else test(value)

    return truth


def contains(name: str, constant: Scalar) -> Test:
    def truth(row: Row) -> Truth:
        value = row.get(name)
        members = value if isinstance(value, tuple) else (value,)
        return None if value is None else any(m is not None and m == constant for m in members)

    return truth


def like(pattern: str, value: str) -> bool:
    parts = {"%": "(?s:.*)", "_": "(?s:.)"}
    regex = "".join(parts.get(c) or re.escape(c) for c in pattern)
    return re.fullmatch(regex, value, re.IGNORECASE | re.ASCII) is not None


COMPARE: dict[str, Callable[..., bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@st.composite
def leaves(draw: st.DrawFn) -> tuple[str, Test, list[tuple[str, Scalar]]]:
    """An expression, its meaning, and the (column, constant) pairs whose kinds must fit."""
    name, constant, other = (
        draw(st.sampled_from(["x", "y", "z z"])),
        draw(constants),
        draw(constants),
    )
    c = f'"{name}"'
    form = draw(st.sampled_from(["compare", "mirror", "in", "member", "null", "like", "between"]))
    operator = draw(st.sampled_from(sorted(COMPARE)))
    if form == "compare":
        test = on_kind(name, {kind(constant)}, lambda v: COMPARE[operator](v, constant))
        return f"{c} {operator} {literal(constant)}", test, [(name, constant)]
    if form == "mirror":
        test = on_kind(name, {kind(constant)}, lambda v: COMPARE[operator](constant, v))
        return f"{literal(constant)} {operator} {c}", test, [(name, constant)]
    if form == "in":
        test = on_kind(name, {kind(constant), kind(other)}, lambda v: v in (constant, other))
        text = f"{c} IN ({literal(constant)}, {literal(other)})"
        return text, test, [(name, constant), (name, other)]
    if form == "member":
        return f"{literal(constant)} IN {c}", contains(name, constant), [(name, None)]
    if form == "null":
        return f"{c} IS NULL", lambda row: row.get(name) is None, [(name, None)]
    if form == "like":
        pattern = draw(st.sampled_from(["%", "a%", "_", "%B%", "a", "%\\%"]))
        test = on_kind(name, {"text"}, lambda v: like(pattern, str(v)))
        return f"{c} LIKE '{pattern}'", test, [(name, pattern)]
    low, high = sorted([draw(st.integers(-3, 3)), draw(st.integers(-3, 3))])
    test = on_kind(name, {"number"}, lambda v: low <= v <= high)  # type: ignore[operator]
    return f"{c} BETWEEN {low} AND {high}", test, [(name, 0)]


def negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def both(left: Truth, right: Truth) -> Truth:
    return False if False in (left, right) else None if None in (left, right) else True


Expression: TypeAlias = tuple[str, Test, list[tuple[str, Scalar]]]


def combine(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def with_not(e: Expression) -> Expression:
        return f"NOT ({e[0]})", lambda row: negated(e[1](row)), e[2]

    def with_and(a: Expression, b: Expression) -> Expression:
        return f"({a[0]} AND {b[0]})", lambda row: both(a[1](row), b[1](row)), a[2] + b[2]

    def with_or(a: Expression, b: Expression) -> Expression:
        def truth(row: Row) -> Truth:
            return negated(both(negated(a[1](row)), negated(b[1](row))))

        return f"({a[0]} OR {b[0]})", truth, a[2] + b[2]

    return (
        inner.map(with_not)
        | st.tuples(inner, inner).map(lambda pair: with_and(*pair))
        | st.tuples(inner, inner).map(lambda pair: with_or(*pair))
    )


def refused(data: list[Row], needs: list[tuple[str, Scalar]]) -> bool:
    """Whether a constant has a kind that its column never held, or the column is unknown."""
    for name, constant in needs:
        if not any(name in row for row in data):
            return True
        held = {kind(row[name]) for row in data if row.get(name) is not None}
        if constant is not None and held and kind(constant) not in held:
            return True
    return False


@settings(max_examples=25, deadline=None)
@given(rows, st.lists(st.recursive(leaves(), combine, max_leaves=5), min_size=8, max_size=8))
def test_against_the_model(pair: Pair, data: list[Row], expressions: list[Expression]) -> None:
    pair.load(data)
    for text, test, needs in expressions:
        if refused(data, needs):
            with pytest.raises(UsageError):
                pair.where(text)
        else:
            assert pair.where(text) == [i for i, row in enumerate(data) if test(row)], text


@settings(max_examples=50, deadline=None)
@given(st.text() | st.text(alphabet="xy ='\"()<>!,.%-+*/;0123456789ANDORTIbLKEU\n\\[]{}:@$#?"))
def test_any_text_is_answered_or_refused(pair: Pair, text: str) -> None:
    pair.load([{"x": 1, "y": "a"}])
    try:
        pair.where(text)
    except UsageError as error:
        assert "\n" not in str(error)
