"""Hits in a terminal and in a pipe."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from present_cases import HOSTILE_NAMES, hit_of, row_hit
from rich.cells import cell_len
from rich.console import Console

from mmsearch.present.table import hits_lines, hits_table
from mmsearch.records import Chunk, Hit, Modality


def printed(hits: Sequence[Hit], width: int = 80, folder: Path | None = None) -> str:
    """What a terminal of that width gets."""
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(
        hits_table(hits, folder)
    )
    return file.getvalue()


def test_a_line_is_six_fields_separated_by_tabs() -> None:
    hits = [
        hit_of("/m/a.wav", Modality.AUDIO, chunk=Chunk(12, 22)),
        hit_of("/m/b.txt", Modality.TEXT, rank=2, chunk=Chunk(10, 19), text="some\tmore\ntext"),
    ]
    assert hits_lines(hits) == [
        "1\t0.500000\taudio\t12.0–22.0 s\t/m/a.wav\t",
        "2\t0.250000\ttext\tchars 10–19\t/m/b.txt\tsome more text",
    ]


def test_a_hostile_name_stays_one_line_of_six_fields() -> None:
    found = hits_lines([hit_of(f"/m/{name}", Modality.IMAGE) for name in HOSTILE_NAMES])
    for line in found:
        assert len(line.splitlines()) == 1
        assert line.count("\t") == 5
        assert line.replace("\t", "").isprintable()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_table_shows_a_hostile_name_and_obeys_nothing_in_it(name: str) -> None:
    shown = printed([hit_of(f"/m/{name}", Modality.IMAGE)], width=120)
    assert shown.replace("\n", "").isprintable()
    assert "[bold red]:smile:" in shown or "smile" not in name
    shown.encode("utf-8")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_table_fits_the_terminal(width: int, tmp_path: Path) -> None:
    hits = [
        hit_of("/m/" + "very-long-name-" * 12, Modality.IMAGE),
        hit_of("/m/b.txt", Modality.TEXT, rank=2, text="天空 " * 200),
        row_hit(tmp_path),
    ]
    assert max(map(cell_len, printed(hits, width).splitlines())) <= width


def test_a_table_shortens_paths_below_the_folder_and_names_the_part(tmp_path: Path) -> None:
    shown = printed([row_hit(tmp_path, "A red [square]")], 120, tmp_path)
    assert "Row seven · row.png · 7" in shown
    assert "text (caption)" in shown
    assert "A red [square]" in shown
    assert str(tmp_path) not in shown


def test_relevance_takes_the_place_of_the_score_once_there_is_one() -> None:
    assert "0.500" in printed([hit_of("/m/a.png", Modality.IMAGE)])
    calibrated = printed([hit_of("/m/a.png", Modality.IMAGE, relevance=0.934)])
    assert "relevance" in calibrated and "93%" in calibrated


def test_importing_what_shows_hits_loads_no_heavy_library() -> None:
    code = (
        "import sys, mmsearch.present.table, mmsearch.present.json_, mmsearch.present.gallery\n"
        "import mmsearch.present.demo\n"
        "print({'rich', 'PIL', 'soundfile', 'jinja2', 'torch', 'skimage', 'sklearn'}"
        " & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
