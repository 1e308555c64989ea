"""The documentation says what the program does."""

import re
from pathlib import Path

import mmsearch
from mmsearch.cli.reference import cli_reference

ROOT = Path(__file__).parents[1]


def test_the_command_line_page_is_what_help_prints() -> None:
    assert (ROOT / "docs/cli.md").read_text() == cli_reference(), "run `make docs`"


def test_every_public_name_is_in_the_python_page() -> None:
    page = (ROOT / "docs/python-api.md").read_text()
    missing = [name for name in mmsearch.__all__ if not re.search(rf"`[^`]*\b{name}\b", page)]
    assert not missing


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    ]
    assert links
    broken = [(page.name, to) for page, to in links if not (page.parent / to).exists()]
    assert not broken


def test_the_quick_start_of_the_readme_runs(tmp_path: Path) -> None:
    """The five lines of Python, over a folder with one text."""
    (tmp_path / "note.txt").write_text("two dogs playing on the grass")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = blocks[0].replace("~/Pictures", str(tmp_path)).replace('"indexes/', f'"{tmp_path}/')
    code = code.replace('target="image"', 'target="text"')
    found: list[tuple[object, ...]] = []
    exec(code, {"print": lambda *values: found.append(values)})  # noqa: S102
    assert [values[0] for values in found] == [1]
