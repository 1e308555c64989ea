"""What trainings print at their end."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.train.align import AlignReport
    from mmsearch.train.fusion import FusionReport
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


def fusion_lines(report: "FusionReport", *, as_json: bool) -> Iterator[str]:
    """Return what `train fusion` prints: figures of both scorers, and what became of it."""
    if as_json:
        yield json.dumps({**asdict(report), "helped": report.helped}, indent=2)
        return
    default, learned = asdict(report.default), asdict(report.learned)
    yield "\t".join(("scorer", "queries", *default))
    for name, values in (("convex", default), (report.scorer, learned)):
        yield "\t".join((name, str(report.held_out), *(f"{v:.4f}" for v in values.values())))
    if report.hidden:
        yield f"{report.hidden:,} queries left out: nothing relevant is among their candidates"
    if report.rare:
        yield f"{report.rare:,} queries left out: too few of their direction"
    change = f"nDCG@10 {report.difference.value:+.4f}, p {report.difference.p:.4f}"
    if report.helped:
        kinds = ", ".join(report.directions)
        yield f"kept ({change}): search {kinds} with --rerank {report.scorer}"
    else:
        yield f"not kept, it does not beat the default on held-out queries ({change})"


def _unusable(report: "AlignReport | TowersReport") -> Iterator[str]:
    if report.failures:
        where = report.folder / "report.json"
        yield f"{len(report.failures):,} rows or files could not be used: {where} says why"
