"""What trainings print at their end."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.train.align import AlignReport
    from mmsearch.train.towers import TowersReport


def align_lines(report: "AlignReport") -> Iterator[str]:
    """Return what `train align` prints: figures before and after, and whether it helped."""
    names = " ".join(f"{name:>6}" for name in ("mrr", "hit@1", "hit@5", "hit@10"))
    yield f"{'direction':14} {'queries':>8} {'':6} {names}"
    for row in report.rows():
        for name in ("before", "chance", "after"):
            if name in row:
                values = " ".join(f"{value:>6.3f}" for value in row[name].values())
                yield f"{row['direction']:14} {row['queries']:>8,} {name:6} {values}"
        yield f"{'':14} {'':8} {row['verdict']}"
    yield f"{report.pairs:,} pairs trained on, {report.steps:,} steps, best at {report.best_step:,}"
    yield from _unusable(report)
    verdicts = {row["verdict"] for row in report.rows()}
    if report.helped:
        yield f"it helped; use it with: mmsearch index PATH --model {report.folder}"
    elif worse := [row["direction"] for row in report.rows() if row["verdict"] == "worse"]:
        yield f"it did not help: {', '.join(worse)} became worse; keep the base model"
    elif "no difference shown" in verdicts:
        yield "it did not help: held-out pairs show no difference; keep the base model"
    else:
        yield "too few held-out pairs to tell whether it helped: give more rows"


def towers_lines(report: "TowersReport") -> Iterator[str]:
    """Return what `train towers` prints: figures on held-out pairs."""
    yield f"{'direction':14} {'queries':>8} {'mrr':>6} {'hit@1':>6} {'hit@5':>6} {'hit@10':>6}"
    for one in report.figures:
        values = " ".join(f"{value:>6.3f}" for value in one.named().values())
        yield f"{one.direction:14} {len(one.ranks):>8,} {values}"
    yield f"{report.pairs:,} pairs trained on, {report.steps:,} steps, best at {report.best_step:,}"
    if report.left_out:
        yield f"{report.left_out:,} pairs left out: they hold copies of what is held out"
    yield from _unusable(report)
    yield f"use it with: mmsearch index PATH --model {report.folder}"


def _unusable(report: "AlignReport | TowersReport") -> Iterator[str]:
    if report.failures:
        where = report.folder / "report.json"
        yield f"{len(report.failures):,} rows or files could not be used: {where} says why"
