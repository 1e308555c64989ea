"""The wheel, installed into another environment and searched with: package data is proven."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUESTION = "two dogs playing on the grass"


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "MMSEARCH_INDEX"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def install(folder: Path) -> Path:
    """Build the wheel and install it; its dependencies are this environment's own.

    Returns:
        The new environment's folder of programs.
    """
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    run(*pip, *build, cwd=folder)
    home = folder / "env"
    venv.create(home, with_pip=False)
    here = Path(sysconfig.get_path("purelib"))
    site = home / here.relative_to(sys.prefix)
    (site / "shared.pth").write_text(f"{here}\n")
    (wheel,) = folder.glob("mmsearch-*.whl")
    run(
        *pip,
        "install",
        "--ignore-installed",
        "--no-deps",
        "--no-index",
        "--prefix",
        home,
        wheel,
        cwd=folder,
    )
    return home / "bin"


def test_the_installed_wheel_indexes_searches_and_writes_a_gallery(tmp_path: Path) -> None:
    programs = install(tmp_path)
    where = run(
        programs / "python", "-c", "import mmsearch; print(mmsearch.__file__)", cwd=tmp_path
    )
    assert where.startswith(str(tmp_path)), "this is not the wheel"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "dogs.txt").write_text(QUESTION)
    mmsearch = (programs / "python", programs / "mmsearch")
    run(*mmsearch, "index", "notes", cwd=tmp_path)
    found = run(*mmsearch, "query", QUESTION, "--html", "hits.html", cwd=tmp_path)
    assert "dogs.txt" in found
    assert QUESTION in (tmp_path / "hits.html").read_text()
    run(*mmsearch, "plot", "map.html", cwd=tmp_path)
    assert QUESTION in (tmp_path / "map.html").read_text()
