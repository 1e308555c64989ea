"""Many queries in one run: read from a file or a pipe, answered in order, whole lines only."""

import json
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from media import picture, text
from test_cli import BINARY, Run, cli, indexed, media, notes, real
from test_present_json import SCHEMA, check

import mmsearch
from mmsearch import DecodeError, Index, Query
from mmsearch.engine import batch
from mmsearch.engine.opened import BATCH

__all__ = ["cli", "indexed", "media", "notes"]  # fixtures


def rows(path: Path, *found: dict[str, Any]) -> str:
    return str(text(path, "\n".join(map(json.dumps, found))))


def answered(out: str) -> list[dict[str, Any]]:
    pages = [json.loads(line) for line in out.splitlines()]
    for page in pages:
        check(page, SCHEMA)
    return pages


def test_lines_of_text_are_answered_as_one_by_one(indexed: Run, tmp_path: Path) -> None:
    asked = text(tmp_path / "q.txt", "red\n\n  a blue note \nhigh\n")
    code, out, err = indexed("query", "--batch", str(asked), "-k", "2", "--json")
    assert code == 0
    assert err.endswith(" s: 3 queries, 0 could not be asked\n")
    words_of = {"1": "red", "3": "a blue note", "4": "high"}
    for page, (number, words) in zip(answered(out), words_of.items(), strict=True):
        alone = json.loads(indexed("query", words, "-k", "2", "--json")[1])
        assert page == {"id": number} | alone


def test_hits_are_tab_separated_lines_that_begin_with_the_id(indexed: Run, tmp_path: Path) -> None:
    asked = rows(tmp_path / "q.jsonl", {"id": "a\tb", "text": "red"}, {"id": "c", "text": "blue"})
    code, out, _ = indexed("query", "--batch", asked, "--target", "image", "--target", "text")
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[:2] for line in lines] == [["a\\tb", "1"], ["a\\tb", "2"], ["c", "1"], ["c", "2"]]
    alone = indexed("query", "red", "--target", "image", "--target", "text")[1]
    assert ["\t".join(line[1:]) for line in lines[:2]] == alone.splitlines()


def test_rows_ask_with_any_modality_and_keep_their_order(
    indexed: Run, tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "BATCH", 2)
    asked = rows(
        tmp_path / "q.jsonl",
        {"id": "seen", "image": "m/red.png"},
        {"id": "said", "text": "red"},
        {"id": "gone", "image": "m/gone.png"},
        {"id": "heard", "audio": "m/high.wav"},
        {"id": "two", "text": ["red", "high"]},
        {"id": "many", "image": ["m/red.png", "m/red.png"], "exclude": "blue"},
        {"id": "both", "text": "high", "image": "m/red.png"},
        {"id": "nothing", "text": " "},
    )
    code, out, err = indexed("query", "--batch", asked, "--json", "--where", "path LIKE '%.%'")
    found = {page["id"]: page for page in answered(out)}
    assert code == 0
    assert list(found) == ["seen", "said", "gone", "heard", "two", "many", "both", "8"]
    paths = {n: [hit["item"]["path"] for hit in page["hits"]] for n, page in found.items()}
    files = {name: [Path(path).name for path in some] for name, some in paths.items()}
    assert files["seen"][0] == files["said"][0] == "red.png"
    assert files["heard"][0] == "high.wav"
    assert files["gone"] == files["two"] == files["8"] == []
    assert set(files["both"][:2]) == {"red.png", "high.wav"}
    assert found["both"]["query"] == {
        **{"text": "high", "image": str(media / "red.png")},
        **{
            "k": 10,
            "where": "path LIKE '%.%'",
            "rerank": "convex",
            "min_relevance": 0.0,
            "dedupe": False,
        },
    }
    assert "gone.png: No such file" in found["gone"]["error"]
    assert "several texts" in found["two"]["error"]
    assert found["many"]["query"]["exclude"] == ["blue"]
    assert found["many"]["query"]["image"] == 2 * [str(media / "red.png")]
    assert files["many"][0] == "red.png"
    assert "error" not in found["seen"]
    assert err.count("  ! ") == 3
    assert err.endswith(" s: 8 queries, 3 could not be asked\n")


def test_csv_and_templates(indexed: Run, tmp_path: Path) -> None:
    asked = text(tmp_path / "q.tsv", "id\ttext\tlang\nq1\tred\ten\n")
    options = ["--template", "{}", "--template", "{} blue", "--json"]
    (page,) = answered(indexed("query", "--batch", str(asked), *options)[1])
    alone = json.loads(indexed("query", "red", *options)[1])
    assert page == {"id": "q1"} | alone


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--batch", "absent.txt"], 2, "absent.txt: no such file"),
        (["--batch", "m"], 2, "a folder; name a file"),
        (["--batch", "empty.jsonl"], 2, "no rows"),
        (["red", "--batch", "q.txt"], 2, "--batch goes with no TEXT"),
        (["--batch", "q.txt", "--image", "m/red.png"], 2, "--batch goes with no TEXT"),
        (["--batch", "q.txt", "--html", "a.html"], 2, "--batch goes with no TEXT"),
        (["--batch", "q.txt", "-k", "0"], 2, "k is 0"),
        (["--batch", "q.txt", "--where", "1 ="], 2, "where"),
        (["--batch", "q.txt", "--template", "x"], 2, "template 'x'"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    indexed: Run, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    text(tmp_path / "q.txt", "red")
    text(tmp_path / "empty.jsonl", "")
    got, out, err = indexed("query", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith("mmsearch: ") and err.count("\n") == 1
    assert says in err


def test_where_nothing_can_be_asked_the_exit_code_says_so(indexed: Run, tmp_path: Path) -> None:
    code, out, err = indexed("query", "--batch", rows(tmp_path / "q.jsonl", {"image": "gone.png"}))
    assert (code, out) == (1, "")
    assert "  ! " in err and "gone.png" in err


def test_a_batch_takes_queries_of_any_modality(index: Index, tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        picture(tmp_path / f"m/{colour}.png", colour)
    index.add(tmp_path / "m")
    seen, gone = Query(image=tmp_path / "m/red.png"), Query("red", image=tmp_path / "gone.png")
    asked: list[str | Query] = [
        "blue",
        seen,
        "red",
        gone,
        Query("blue", templates=("{}", "{} sky")),
    ]
    failed: dict[int, DecodeError] = {}
    found = index.search_many(asked, k=1, failed=failed.__setitem__)
    names = [[hit.item.path.name for hit in hits] for hits in found]
    assert names == [["blue.png"], ["red.png"], ["red.png"], [], ["blue.png"]]
    assert list(failed) == [3]
    assert found[1] == index.search(image=tmp_path / "m/red.png", k=1)
    assert found[4] == index.search("blue", templates=("{}", "{} sky"), k=1)
    with pytest.raises(DecodeError, match=r"gone\.png"):
        index.search_many(asked)


def test_the_real_command_reads_a_pipe_and_ends_with_its_reader(notes: Path) -> None:
    asked = "".join(f"{n} cats\n" for n in range(BATCH + 5))
    found = real("query", "--batch", "-", "-k", "1", cwd=notes, input=asked)
    assert found.returncode == 0, found.stderr
    ids = [line.split("\t")[0] for line in found.stdout.splitlines()]
    assert ids == [str(n) for n in range(1, BATCH + 6)]
    line = f"'{BINARY}' query --batch - -k 50 | head -1"
    piped = subprocess.run(
        line, shell=True, cwd=notes, capture_output=True, text=True, timeout=60, input=asked
    )
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout.startswith("1\t1\t")


def test_json_rows_come_through_a_pipe_too(notes: Path) -> None:
    asked = '{"id": "x", "text": "7 cats"}\n{"id": "y", "image": "gone.png"}\n'
    found = real("query", "--batch", "-", "--json", "-k", "1", cwd=notes, input=asked)
    assert [page["id"] for page in answered(found.stdout)] == ["x", "y"]
    assert f"{notes}/gone.png" in found.stderr


def test_ctrl_c_leaves_whole_lines_and_exits_130(notes: Path) -> None:
    asked = text(notes / "q.txt", "\n".join(f"{n} cats" for n in range(100)))
    with subprocess.Popen(
        [BINARY, "query", "--batch", str(asked), "--json", "-k", "100"],
        cwd=notes,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        assert select.select([process.stdout], [], [], 60)[0]
        time.sleep(0.5)  # it waits in the middle of a line: a pipe holds 64 KiB
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        out, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130, err
    assert out.endswith(b"\n")
    assert 0 < len(answered(out.decode())) < 100
    assert b"interrupted in" in err and b"Traceback" not in err


def test_the_text_of_a_query_stays_what_it_is(tmp_path: Path, index: Index) -> None:
    index.add(text(tmp_path / "a.txt", "red note"))
    asked = tmp_path / "q.txt"
    asked.write_bytes(b"\xef\xbb\xbfred\r\n\xff\nnote")
    found = list(batch.answers(index, asked))
    assert [(one.id, one.query and one.query.text) for one in found] == [
        ("1", "red"),
        ("2", None),
        ("3", "note"),
    ]
    assert found[1].failure == mmsearch.Failure(str(asked), "column 'text' is not valid UTF-8", "2")
