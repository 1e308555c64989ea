"""The command `mmsearch eval`: what it prints, writes and refuses."""

import json
from pathlib import Path

import pytest
from media import picture, text
from test_cli import Run, cli, indexed, media, real

import mmsearch
from mmsearch.cli.evaluate import evaluate as command

__all__ = ["cli", "indexed", "media"]  # fixtures

QUERY = '{"id": "q1", "text": "red", "relevant": ["m/red.png"]}'


@pytest.fixture
def queries(tmp_path: Path, media: Path) -> str:
    return str(text(tmp_path / "q.jsonl", QUERY + "\n" + '{"id": "q2", "text": "x"}'))


def lines_of(out: str) -> dict[tuple[str, str], list[str]]:
    first, *others = (line.split("\t") for line in out.splitlines())
    assert first[:5] == ["direction", "measure", "value", "low", "high"]
    assert {len(cells) for cells in others} == {len(first)} == {10}
    return {(cells[0], cells[1]): cells[2:] for cells in others}


def test_figures_in_a_pipe_are_tab_separated(indexed: Run, queries: str) -> None:
    code, out, err = indexed("eval", queries, "--target", "image", "-k", "20")
    assert (code, err) == (0, "1 queries have nothing relevant and were left out\n")
    found = lines_of(out)
    assert found["text->image", "hit_at_1"] == ["1", "1", "1", "", "", "", "", ""]
    assert found["text->image", "recall_at_20"][0] == "1"
    assert found["text->image", "queries"][0] == "1"
    assert float(found["text->image", "median_ms"][0]) > 0


def test_what_a_reader_has_to_know_is_on_stderr(indexed: Run, tmp_path: Path) -> None:
    rows = ['{"text": "red", "relevant": ["m/red.png", "m/gone.png", "x\\ty"]}', '{"text": 1', ""]
    code, out, err = indexed("eval", str(text(tmp_path / "q.jsonl", "\n".join(rows))))
    assert code == 0
    assert lines_of(out)
    assert err.splitlines() == [
        "2 relevant items are not in the index and count as not found: m/gone.png, x\\ty",
        "1 queries could not be asked",
        f"  ! {tmp_path}/q.jsonl row 2: bad JSON: Expecting ',' delimiter at column 11",
    ]


def test_a_run_a_plot_and_a_comparison(indexed: Run, queries: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert indexed("eval", queries, "--run", "a.trec", "--plot", "a.png")[0] == 0
    run = (tmp_path / "a.trec").read_text().splitlines()
    assert run[0].split()[:4] == ["q1", "Q0", "m/red.png", "1"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = indexed("eval", queries, "--template", "a blue {}", "--against", "a.trec")
    assert code == 0
    assert lines_of(out)["text->all", "hit_at_10"] == ["1", "1", "1", "1", "0", "0", "0", "1"]
    qrels = text(tmp_path / "x.qrels", "q1 0 m/red.png 1")
    asked = text(tmp_path / "q.tsv", "id\ttext\nq1\tred\n")
    code, out, err = indexed("eval", str(asked), "--qrels", str(qrels), "--json")
    page = json.loads(out)
    assert (code, err) == (0, "")
    assert page["directions"][0]["figures"]["ndcg_at_10"] == {"value": 1, "low": 1, "high": 1}
    (query,) = page["queries"]
    assert (query["id"], query["direction"], query["median_rank"]) == ("q1", "text->all", 1)


def test_a_terminal_gets_tables(
    indexed: Run, queries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    out = indexed("eval", queries, "--run", "a.trec")[1]
    assert "text->all, 1 queries" in out
    assert "1.000 to 1.000" in out
    assert "difference" not in out
    out = indexed("eval", queries, "--against", "a.trec")[1]
    assert "a.trec" in out
    assert "+0.000 to +0.000" in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["absent.jsonl"], 2, "absent.jsonl: no such file"),
        (["q.jsonl", "-k", "5"], 2, "k is 5"),
        (["q.jsonl", "--run", "no/such/a.trec"], 2, "there is no folder no/such"),
        (["q.jsonl", "--plot", "a.pdf"], 2, "ends in .png"),
        (["q.jsonl", "--against", "m/note.txt"], 2, "line 1: not query, Q0"),
        (["q.jsonl", "--qrels", "absent"], 2, "absent: cannot be read"),
        (["q.jsonl", "--index", "absent"], 1, "there is no index here"),
        (["q.jsonl", "--target", "video"], 2, "a modality is one of"),
    ],
)
def test_errors_are_one_line(
    indexed: Run, queries: str, arguments: list[str], code: int, says: str
) -> None:
    found, out, err = indexed("eval", *arguments)
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 1
    assert says in err


def test_ctrl_c_writes_nothing(
    indexed: Run, queries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text(tmp_path / "a.trec", "as it was")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mmsearch.Index, "_search", stop)
    code, out, _ = indexed("eval", queries, "--run", "a.trec")
    assert (code, out) == (130, "")
    assert (tmp_path / "a.trec").read_text() == "as it was"


def test_the_real_command_with_the_embedded_model(tmp_path: Path) -> None:
    """Texts find texts and pictures find pictures by the model that comes along."""
    for name, words in {"dog": "two dogs run on the grass", "sea": "waves on a beach"}.items():
        text(tmp_path / f"n/{name}.txt", words)
    for colour in ("red", "green"):
        picture(tmp_path / f"n/{colour}.png", colour, side=64)
    result = real("index", "n", cwd=tmp_path)
    if "weights" in result.stderr and result.returncode:
        pytest.skip(f"the embedded weights are not there: {result.stderr}")
    asked = [
        {"text": "a puppy in a meadow", "relevant": ["n/dog.txt"]},
        {"text": "the ocean", "relevant": ["n/sea.txt"]},
        {"image": "n/red.png", "relevant": ["n/red.png"]},
    ]
    text(tmp_path / "q.jsonl", "\n".join(map(json.dumps, asked)))
    result = real("eval", "q.jsonl", "--run", "a.trec", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    found = lines_of(result.stdout)
    assert {direction for direction, _ in found} == {"image->all", "text->all", "all"}
    assert found["all", "hit_at_5"][0] == "1"
    assert len((tmp_path / "a.trec").read_text().splitlines()) == 12


def test_the_options_are_the_parameters() -> None:
    """One command is one call: what it does not print or write is an argument of evaluate."""
    import inspect

    options = set(inspect.signature(command).parameters)
    parameters = set(inspect.signature(mmsearch.evaluate).parameters)
    own = {"run", "plot", "json", "device", "precision", "template"}
    assert options - own == parameters - {"progress", "templates"}
