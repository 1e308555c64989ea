"""An evaluation for a terminal, as tables; for a pipe, as tab-separated lines; and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mmsearch.engine.evaluation import ALL, DirectionEvaluation, Evaluation
from mmsearch.metrics import Difference, Estimate, Measure
from mmsearch.present.words import one_line

if TYPE_CHECKING:
    from rich.table import Table

_FIELDS = (
    *("direction", "measure", "value", "low", "high"),
    *("against", "difference", "difference_low", "difference_high", "p"),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A figure of a direction, beside that of the run it is compared with."""

    measure: str
    ours: Estimate
    theirs: Estimate | None = None
    difference: Difference | None = None


def _rows(direction: DirectionEvaluation, k: int) -> Iterator[_Row]:
    other = direction.against
    for measure, ours in direction.figures.estimates.items():
        yield _Row(
            measure.replace("_at_k", f"_at_{k}"),
            ours,
            other.figures.estimates[measure] if other else None,
            other.differences.get(measure) if other else None,
        )
    if direction.ann_recall_at_10 is not None:
        yield _Row("ann_recall_at_10", direction.ann_recall_at_10)


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table]:
    """Yield a table for each direction."""
    for direction in evaluation.directions:
        yield _table(direction, evaluation)


def _table(direction: DirectionEvaluation, evaluation: Evaluation) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        header_style="bold",
        title=f"{direction.direction}, {len(direction.queries):,} queries",
        title_justify="left",
        caption=f"a query: median {direction.median_ms:.1f} ms, p95 {direction.p95_ms:.1f} ms",
        caption_justify="left",
    )
    table.add_column("measure", no_wrap=True)
    headers = ["value", "95 %"]
    if evaluation.against is not None:
        headers += [one_line(evaluation.against), "95 %", "difference", "95 %", "p"]
    for header in headers:
        table.add_column(Text(header), justify="right")
    for row in _rows(direction, evaluation.k):
        cells = [*_estimate(row.ours, row, evaluation.k)]
        if evaluation.against is not None:
            cells += [*_estimate(row.theirs, row, evaluation.k), *_difference(row.difference)]
        table.add_row(row.measure, *cells)
    return table


def _estimate(found: Estimate | None, row: _Row, k: int) -> tuple[str, str]:
    if found is None:
        return "", ""
    value, low, high = (
        _rank(number, k) if row.measure == Measure.MEDIAN_RANK else f"{number:.3f}"
        for number in (found.value, found.low, found.high)
    )
    return value, f"{low} to {high}"


def _rank(rank: float, k: int) -> str:
    return f"> {k:,}" if rank > k else f"{rank:g}"


def _difference(found: Difference | None) -> tuple[str, str, str]:
    if found is None:
        return "", "", ""
    return f"{found.value:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}", f"{found.p:.4f}"


def evaluation_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield lines of ten fields, separated by tabs; the first line names them.

    A field that there is nothing for is empty.
    """
    yield "\t".join(_FIELDS)
    for direction in evaluation.directions:
        for row in _rows(direction, evaluation.k):
            yield "\t".join((direction.direction, row.measure, *_fields(row)))
        others = {
            "queries": len(direction.queries),
            "median_ms": direction.median_ms,
            "p95_ms": direction.p95_ms,
        }
        for name, value in others.items():
            cells = (direction.direction, name, f"{value:.6g}")
            yield "\t".join(cells + ("",) * (len(_FIELDS) - len(cells)))


def _fields(row: _Row) -> tuple[str, ...]:
    ours, theirs, by = row.ours, row.theirs, row.difference
    numbers = (
        *(ours.value, ours.low, ours.high),
        theirs and theirs.value,
        *((by.value, by.low, by.high, by.p) if by else (None,) * 4),
    )
    return tuple("" if number is None else f"{number:.6g}" for number in numbers)


def evaluation_to_json(evaluation: Evaluation) -> str:
    """Return everything that was measured, also of each query, as one JSON object."""
    page = {
        "index": evaluation.index,
        "against": evaluation.against,
        "k": evaluation.k,
        "directions": [_direction(direction) for direction in evaluation.directions],
        "queries": [
            query
            for direction in evaluation.directions
            if direction.direction != ALL
            for query in _queries(direction)
        ],
        "failures": [asdict(failure) for failure in evaluation.failures],
        "unjudged": evaluation.unjudged,
        "unasked": evaluation.unasked,
        "absent": evaluation.absent,
        "unanswered": evaluation.unanswered,
    }
    return json.dumps(page, indent=2, allow_nan=False)


def _direction(direction: DirectionEvaluation) -> dict[str, Any]:
    ann, other = direction.ann_recall_at_10, direction.against
    return {
        "direction": direction.direction,
        "queries": len(direction.queries),
        "figures": _plain(direction.figures.estimates),
        "ann_recall_at_10": None if ann is None else asdict(ann),
        "median_ms": direction.median_ms,
        "p95_ms": direction.p95_ms,
        "against": None if other is None else _plain(other.figures.estimates),
        "differences": None if other is None else _plain(other.differences),
    }


def _queries(direction: DirectionEvaluation) -> Iterator[dict[str, Any]]:
    """Yield each query with its measures: one object a query, so that failures are looked up."""
    for n, query in enumerate(direction.queries):
        values = {str(name): found[n].item() for name, found in direction.figures.values.items()}
        yield {"id": query, "direction": direction.direction, "ms": direction.ms[n].item()} | values


def _plain(found: Mapping[Measure, Estimate]) -> dict[str, dict[str, float]]:
    return {str(measure): asdict(estimate) for measure, estimate in found.items()}
