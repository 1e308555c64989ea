"""The command line: exit codes, one-line errors, output for people, pipes and programs."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_model
from media import picture, sound, text
from test_present_json import SCHEMA, check

import mmsearch
from mmsearch.cli.app import run
from mmsearch.errors import ModelError

Run = Callable[..., tuple[int, str, str]]
BINARY = str(Path(sys.executable).parent / "mmsearch")


def load(name: str, *compute: object, **options: object) -> mmsearch.Model:
    if name == "fake":
        return fake_model()
    raise ModelError(f"there is no model {name!r}")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process, in an empty folder, with the fake model."""
    monkeypatch.setattr("mmsearch.engine.opened.load_model", load)
    monkeypatch.setattr("mmsearch.engine.opening.load_model", load)
    monkeypatch.setattr("mmsearch.engine.opening.DEFAULT_MODEL", "fake")
    monkeypatch.delenv("MMSEARCH_INDEX", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def media(tmp_path: Path) -> Path:
    picture(tmp_path / "m/red.png", "red")
    sound(tmp_path / "m/high.wav", "high")
    text(tmp_path / "m/note.txt", "a blue note")
    return tmp_path / "m"


@pytest.fixture
def indexed(cli: Run, media: Path) -> Run:
    assert cli("index", str(media))[0] == 0
    return cli


def test_indexing_tells_what_it_did_on_stderr(cli: Run, media: Path) -> None:
    text(media / "bad.png", "no picture")
    text(media / "x.xyz", "other")
    code, out, err = cli("index", str(media))
    assert (code, out) == (0, "")
    assert "holds 3 items" in err
    assert "added                 3" in err
    assert "failed                1" in err
    assert ".xyz" in err
    assert f"! {media / 'bad.png'}: " in err
    code, out, err = cli("index", str(media))
    assert code == 0
    assert "unchanged             3" in err


def test_hits_in_a_pipe_are_tab_separated(indexed: Run, media: Path) -> None:
    code, out, err = indexed("query", "red", "--target", "image")
    assert (code, err) == (0, "")
    (fields,) = [line.split("\t") for line in out.splitlines()]
    assert len(fields) == 6
    assert (fields[0], fields[2], fields[4]) == ("1", "image", str(media / "red.png"))


def test_json_follows_its_schema_in_every_direction(indexed: Run, media: Path) -> None:
    asked = (["blue"], ["--image", str(media / "red.png")], ["--audio", str(media / "high.wav")])
    for query in asked:
        code, out, _ = indexed("query", *query, "--json")
        page = json.loads(out)
        check(page, SCHEMA)
        assert code == 0
        assert len(page["hits"]) == 3


def test_a_filter_and_several_targets(indexed: Run, tmp_path: Path) -> None:
    rows = text(tmp_path / "l.jsonl", '{"caption": "x", "lang": "en"}\n{"caption": "x"}')
    assert indexed("index", str(rows), "--text", "caption")[0] == 0
    code, out, _ = indexed("query", "x", "--where", "lang = 'en'", "--json")
    assert [hit["item"]["row"] for hit in json.loads(out)["hits"]] == ["1"]
    code, out, _ = indexed("query", "x", "--target", "image", "--target", "audio", "-k", "50")
    assert {line.split("\t")[2] for line in out.splitlines()} == {"image", "audio"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["query", "red", "--index", "absent"], 1, "there is no index here"),
        (["index", "no/such/path"], 2, "no such file or folder"),
        (["query", "red", "--target", "video"], 2, "a modality is one of"),
        (["query", "red", "--target", "smell"], 2, "a modality is one of"),
        (["query", "red", "--where", "colour = 1"], 2, "colour"),
        (["query", "red", "--where", "1 ="], 2, "where"),
        (["query", "red", "--nonsense"], 2, "--nonsense"),
        (["query", "red", "-k", "0"], 2, "k is 0"),
        (["query", "red", "-k", "many"], 2, "-k"),
        (["query"], 2, "empty query"),
        (["query", "--image", "absent.png"], 1, "absent.png"),
        (["query", "--image", "m/note.txt"], 1, "note.txt"),
        (["index"], 2, "PATH"),
        (["nonsense"], 2, "nonsense"),
        (["index", "m", "--index", "new", "--model", "absent"], 1, "no model 'absent'"),
        (["index", "m", "--model", "absent"], 1, "absent"),
        (["index", "m", "--index", "new", "--recipe", "IVF16,PQ8x4fs"], 2, "IVF16,PQ8x4fs"),
        (["index", "m", "--recipe", "IVF16,PQ8"], 2, "made with recipe"),
        (["index", "m", "--text", "caption"], 2, "caption"),
    ],
)
def test_an_error_is_one_line_with_its_exit_code(
    indexed: Run, arguments: list[str], code: int, says: str
) -> None:
    got, out, err = indexed(*arguments)
    assert (got, out) == (code, "")
    assert err.startswith("mmsearch: ")
    assert err.count("\n") == 1
    assert says in err


def test_an_empty_folder_says_what_is_looked_for(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = cli("index", str(tmp_path / "empty"))
    assert code == 1
    assert "nothing to index there" in err


def test_a_damaged_index_names_the_repair(indexed: Run, tmp_path: Path) -> None:
    segment = next((tmp_path / "indexes/default").glob("*.vectors"))
    segment.write_bytes(segment.read_bytes()[:-3])
    code, out, err = indexed("query", "red")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "mmsearch repair" in err


def test_the_report_lists_everything_that_was_skipped(cli: Run, media: Path) -> None:
    text(media / "bad.png", "no picture")
    text(media / "x.xyz", "other")
    assert cli("index", str(media), "--report", "report.json")[0] == 0
    report = json.loads(Path("report.json").read_text())
    assert [failure["source"] for failure in report["failures"]] == [str(media / "bad.png")]
    assert report["ignored"] == {".xyz": 1}
    assert report["added"] == 3


def test_where_the_index_lives(
    cli: Run, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("index", str(media), "--index", "photos")[0] == 0
    assert (tmp_path / "indexes/photos/data.mdb").is_file()
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/er")  # looked for upwards
    assert cli("query", "red", "--index", "photos")[0] == 0
    assert cli("query", "red", "--index", "../../indexes/photos")[0] == 0
    assert cli("query", "red")[0] == 1
    monkeypatch.setenv("MMSEARCH_INDEX", "photos")
    assert cli("query", "red")[0] == 0
    assert cli("index", str(media), "--index", "./here")[0] == 0
    assert (tmp_path / "deep/er/here/data.mdb").is_file()


def test_prune_and_remove(indexed: Run, media: Path) -> None:
    (media / "red.png").unlink()
    assert "vanished              1" in indexed("index", str(media))[2]
    assert "removed               1" in indexed("index", str(media), "--prune")[2]
    assert indexed("remove", str(media / "note.txt"))[0] == 0
    assert indexed("remove", str(media / "note.txt"))[0] == 1
    assert "1 items" in indexed("info")[1]
    assert indexed("compact")[0] == 0
    assert json.loads(indexed("info", "--json")[1])["items"] == 1
    assert indexed("verify")[0] == 0


def test_models_version_and_help(cli: Run) -> None:
    listed = cli("models")[1]
    assert {"mini", "clip", "siglip2", "quality", "gemma"} <= set(listed.split())
    assert cli("models", "pull", "mini")[0] == 0
    assert cli("models", "pull", "nothing")[0] == 1
    assert cli("--version")[1].startswith("mmsearch ")
    assert "index" in cli()[1]


def real(*arguments: str, cwd: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [BINARY, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, indexed by the real command with the embedded model."""
    folder = tmp_path_factory.mktemp("notes")
    for number in range(200):
        text(folder / f"n/{number}.txt", f"a dog and {number} cats")
    result = real("index", "n", cwd=folder)
    if "weights" in result.stderr and result.returncode:
        pytest.skip(f"the embedded weights are not there: {result.stderr}")
    assert result.returncode == 0, result.stderr
    return folder


def test_the_real_command_is_quiet_in_a_pipe_and_ends_with_its_reader(notes: Path) -> None:
    line = f"'{BINARY}' query dog -k 200 | head -1"
    result = subprocess.run(line, shell=True, cwd=notes, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("1\t")
    again = real("index", "n", cwd=notes)
    assert "\x1b" not in again.stderr
    assert (again.returncode, again.stdout) == (0, "")


def test_a_model_that_cannot_be_downloaded_is_one_line(notes: Path) -> None:
    result = real("index", "n", "--index", "x", "--model", "clap:no-one/nothing", cwd=notes)
    assert result.returncode == 1
    assert "no-one/nothing" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_terminal_gets_a_bar_and_a_table(notes: Path) -> None:
    for arguments, sign in ((["index", "n"], "indexing"), (["query", "dog"], "relevance")):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [BINARY, *arguments], cwd=notes, stdout=theirs, stderr=theirs, stdin=theirs
        )
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how a terminal ends on Linux
            pass
        os.close(ours)
        assert process.wait(60) == 0, shown
        assert sign in shown.decode()


def test_ctrl_c_commits_what_is_finished_and_exits_130(tmp_path: Path, notes: Path) -> None:
    rows = 100_000
    text(tmp_path / "n.jsonl", "\n".join(f'{{"text": "word{n}"}}' for n in range(rows)))
    process = subprocess.Popen(
        [BINARY, "index", "n.jsonl"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    catalog, started = tmp_path / "indexes/default/catalog.sqlite-wal", time.monotonic()
    while time.monotonic() - started < 30 and process.poll() is None:
        if catalog.exists() and catalog.stat().st_size > 100_000:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted: what was finished is kept" in err
    assert "Traceback" not in err
    with mmsearch.open(tmp_path / "indexes/default") as index:
        assert 0 < index.info().items < rows
        assert len(index.search("word1", k=10**6)) == index.info().items


def test_info_tells_when_a_library_has_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "index")
    mmsearch.create(folder, model=fake_model()).close()
    assert run(["info", "--index", folder]) == 0
    assert "made with" not in capsys.readouterr().out
    monkeypatch.setattr("mmsearch.engine.info.library_versions", lambda: {"lmdb": "99.0"})
    assert run(["info", "--index", folder]) == 0
    assert f"made with lmdb {version('lmdb')}, now 99.0" in capsys.readouterr().out


@pytest.mark.parametrize("asked", [True, False])
def test_what_networks_run_on_reaches_them(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    from mmsearch.encode import mini
    from mmsearch.encode.compute import Compute, Precision

    seen: list[Compute] = []

    def load(compute: Compute) -> mmsearch.Model:
        seen.append(compute)
        return fake_model()

    monkeypatch.setattr(mini, "load", load)
    options = ["--compile", "--device", "cpu", "--precision", "bf16"] if asked else []
    assert run(["index", str(media), "--index", str(tmp_path / "i"), *options]) == 0
    expected = Compute("cpu", Precision.BF16, True) if asked else Compute()
    assert seen
    assert set(seen) == {expected}
