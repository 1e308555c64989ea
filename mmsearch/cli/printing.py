"""What the commands print: results on stdout, everything else on stderr."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.errors import one_line

if TYPE_CHECKING:
    from mmsearch.engine.evaluate_model import ModelEvaluation
    from mmsearch.engine.info import IndexInfo, Promise
    from mmsearch.engine.ingest import Progress
    from mmsearch.engine.report import Report
    from mmsearch.engine.tuning import Tuned
    from mmsearch.records import Failure, Hit
    from mmsearch.store.verify import Damage

_SHOWN_FAILURES = 20


def say(line: str) -> None:
    """Tell the person at the terminal something that is not a result."""
    typer.echo(line, err=True)


def error_line(message: str) -> str:
    """Return an error as the one line that the command line prints."""
    return f"mmsearch: {one_line(message)}"


@contextmanager
def progress_bar(
    what: str, count: Callable[[], int]
) -> Iterator["Callable[[Progress], None] | None"]:
    """Show a bar with rate and time left on a terminal; yield None in a pipe.

    Args:
        what: What is being done.
        count: Counts the items that will come; called beside the work.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="", failed="")
        counter = threading.Thread(target=lambda: bar.update(task, total=count()), daemon=True)
        counter.start()

        def show(progress: "Progress") -> None:
            speed = bar.tasks[task].speed or 0
            failed = f"{progress.failed} failed" if progress.failed else ""
            bar.update(task, completed=progress.seen, rate=f"{speed:.0f} items/s", failed=failed)

        yield show


def count_items(paths: Sequence[str], text_columns: Sequence[str]) -> int:
    """Count the items that will be found in a walk of their own."""
    from mmsearch.sources import Ignored, find_items

    found = find_items(paths, text_columns=text_columns)
    return sum(1 for item in found if not isinstance(item, Ignored))


def end_run(report: "Report", items: int, folder: Path, file: Path | None) -> None:
    """Say what a run has added, write it to a file if one is wanted, and exit as it went.

    Raises:
        typer.Exit: 130 after Ctrl-C, 1 where nothing was found.
    """
    if file:
        write_report(file, report)
    for line in report_lines(report, items, folder):
        say(line)
    if report.interrupted:
        raise typer.Exit(130)
    if not report.indexed and not report.unchanged:
        raise typer.Exit(1)


def report_lines(report: "Report", items: int, folder: Path) -> Iterator[str]:
    """Return the closing table of an `index` run."""
    yield f"{_state(report)}; {folder} holds {items:,} items"
    nothing = "  nothing to index there: no pictures, sounds, texts or manifests"
    yield from list(_counts(report)) or [nothing]
    yield from failure_lines(report.failures, "--report FILE")


def reencode_lines(report: "Report", before: "IndexInfo", after: "IndexInfo") -> Iterator[str]:
    """Return the closing table of a `reencode` run: what it did, and where that leaves the index.

    Args:
        report: The run.
        before: The index before it.
        after: The index now.
    """
    from mmsearch.records import named

    stays = f"{after.path} stays with {named(before.spaces)}"
    if report.interrupted:
        yield f"{_state(report)}; {stays}; run it again to continue"
    elif report.missing:
        yield (
            f"{stays}: {report.missing:,} items would lose what cannot be encoded any more; "
            "bring their files back and run it again, or add --drop-missing"
        )
    elif before.spaces == after.spaces and before.model != after.model:
        yield f"{after.path} now uses model {after.model}, of the same vectors"
        return
    elif before.spaces == after.spaces:
        yield f"{after.path} has model {named(after.spaces)} already; nothing to do"
        return
    else:
        yield f"{_state(report)}; {after.path} holds {after.items:,} items of {named(after.spaces)}"
    yield from _counts(report)
    yield from failure_lines(report.failures, "--report FILE")


def _state(report: "Report") -> str:
    rate = f", {report.indexed / report.seconds:,.0f} items/s" if report.indexed else ""
    state = "interrupted: what was finished is kept" if report.interrupted else "done"
    return f"{state} in {report.seconds:.1f} s{rate}"


def _counts(report: "Report") -> Iterator[str]:
    rows = {
        "added": report.added,
        "updated": report.updated,
        "moved": report.moved,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "vanished": len(report.vanished),
        "failed": len(report.failures),
        "other types": report.ignored.total(),
    }
    for name, count in rows.items():
        if count:
            yield f"  {name:12} {count:>10,}{_note(name, report)}"


def failure_lines(failures: "Sequence[Failure]", lists_all: str) -> Iterator[str]:
    """Return the first failures, a line each, and which option lists all."""
    yield from map(failure_line, failures[:_SHOWN_FAILURES])
    if len(failures) > _SHOWN_FAILURES:
        yield f"  ! and {len(failures) - _SHOWN_FAILURES:,} more; {lists_all} lists all"


def failure_line(failure: "Failure") -> str:
    """Name the source and the row, unless the reason names them."""
    row = f" row {failure.row}" if failure.row is not None else ""
    start = "" if failure.reason.startswith(failure.source) else f"{failure.source}{row}: "
    return f"  ! {one_line(start + failure.reason)}"


def _note(name: str, report: "Report") -> str:
    if name == "vanished":
        return "  (their files are gone; --prune removes them)"
    if name == "other types":
        types = (suffix or "no suffix" for suffix, _ in report.ignored.most_common(5))
        return f"  ({', '.join(types)})"
    return ""


def write_report(path: Path, report: "Report") -> None:
    """Write a whole report as JSON."""
    # asdict rebuilds mappings from pairs, and a Counter counts those.
    whole = asdict(replace(report, ignored=Counter())) | {"ignored": dict(report.ignored)}
    path.write_text(json.dumps(whole, indent=2) + "\n")


def print_hits(
    asked: Mapping[str, object], hits: "Sequence[Hit]", *, as_json: bool, explained: bool = False
) -> None:
    """Print hits: a table on a terminal, tab-separated lines in a pipe, or JSON."""
    from mmsearch.present.table import hits_lines, hits_table

    if as_json:
        from mmsearch.present.json_ import hits_to_json

        typer.echo(hits_to_json(asked, hits))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(hits_table(hits, Path.cwd(), explained=explained))
    else:
        for line in hits_lines(hits, explained=explained):
            typer.echo(line)
    if not hits:
        say("nothing found")


def info_lines(info: "IndexInfo", *, as_json: bool) -> Iterator[str]:
    """Return what `info` prints."""
    if as_json:
        yield json.dumps(_plain(asdict(info)), indent=2)
        return
    yield f"{info.path}: {info.items:,} items, {info.size_bytes / 1e6:,.1f} MB, model {info.model}"
    for space in info.spaces:
        yield f"  space {space.name}: {space.dim} dimensions, weights {space.sha256[:12]}"
    for field in info.fields:
        per_vector = field.size_bytes / max(1, field.vectors)
        removed = f", {field.dead:,} removed" if field.dead else ""
        yield (
            f"  {field.name!s:16} {field.vectors:>10,} vectors{removed}, {field.recipe}, "
            f"{field.segments} segments, {per_vector:,.0f} bytes/vector"
        )
        for promise in field.promises:
            yield f"    {promise_line(promise)}"
        for one in field.corrections:
            source = "of its own" if one.own else "of the reference bank"
            yield f"    {one.asked} queries: corrected for hubs by {one.queries:,} {source}"
    for name, directions in info.scorers.items():
        yield f"  scorer {name}: {', '.join(directions)}"
    if info.memory_bytes:
        yield f"  codes within {info.memory_bytes / 1e6:,.1f} MB of memory"
    for name, now in info.changed_versions().items():
        yield f"  made with {name} {info.versions.get(name, '(none)')}, now {now}"
    if info.moving_to:
        command = f"mmsearch reencode --index {info.path} --model {info.moving_to}"
        yield f"  a move to model {info.moving_to} is unfinished; `{command}` goes on with it"
    if info.failures:
        yield f"  {info.failures:,} items failed; the next `mmsearch index` says why"


def promise_line(promise: "Promise") -> str:
    """Return what is promised to queries of one modality."""
    effort = _effort(promise.nprobe, promise.reach, promise.depth)
    found = f"ann_recall_at_10 {promise.ann_recall:.3f}"
    if not promise.holds:
        found += " before its codebook was trained anew; run `mmsearch tune`"
    return f"{promise.asked} queries: {effort}, {found}"


def _effort(nprobe: int, reach: float, depth: int) -> str:
    return f"nprobe {nprobe:,}, reach {reach:g}, {depth:,} candidates"


def tuned_lines(found: "Sequence[Tuned]", *, checked: bool, as_json: bool) -> Iterator[str]:
    """Return what `tune` prints."""
    if as_json:
        yield json.dumps([_plain(asdict(one)) for one in found], indent=2)
        return
    for one in found:
        where = f"{one.asked} to {one.field}, {one.recipe}"
        if one.tuning is None:
            yield (
                f"{where}: no setting keeps it; the best found {one.ann_recall:.3f}. "
                "Larger codes find more: try them with --recipe"
            )
            continue
        effort = _effort(one.tuning.nprobe, one.tuning.reach, one.tuning.depth)
        promised = f"ann_recall_at_10 {one.tuning.promised:.3f}"
        if checked:
            promised = f"promised {one.tuning.promised:.3f}, measured {one.ann_recall:.3f}"
        yield f"{where}: {promised} ({effort}, {one.ms:.1f} ms)"
    if not found:
        yield "nothing is tuned yet" if checked else "every field is searched exactly"


def damage_lines(folder: Path, damages: "Sequence[Damage]") -> Iterator[str]:
    """Return what `verify` prints."""
    for damage in damages:
        yield f"{one_line(damage.where)}: {one_line(damage.what)}"
    if damages:
        yield f"{folder}: {len(damages)} damages; run `mmsearch repair`"
    else:
        yield f"{folder}: no damage"


def model_evaluation_lines(
    evaluations: "Iterable[ModelEvaluation]", *, as_json: bool
) -> Iterator[str]:
    """Return what `eval-model` prints."""
    rows = list(evaluations)
    if as_json:
        yield json.dumps([asdict(row) for row in rows], indent=2)
        return
    yield f"{'direction':16} {'queries':>8} {'gallery':>8} {'hit@1':>7} {'hit@5':>7} {'hit@10':>7}"
    for row in rows:
        yield (
            f"{row.direction:16} {row.queries:>8,} {row.gallery:>8,} "
            f"{row.hit_at_1:>7.3f} {row.hit_at_5:>7.3f} {row.hit_at_10:>7.3f}"
        )
    if rows[0].failed:
        yield f"{rows[0].failed:,} rows failed and were left out; `mmsearch index` says why"


def _plain(value: Any) -> Any:
    """Return a dataclass's dict with everything as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
