"""The public surface: sorted, importable, documented, and cheap to import."""

import inspect
import subprocess
import sys

import pytest

import mmsearch

HEAVY = (
    *("torch", "faiss", "lmdb", "numpy", "transformers", "open_clip", "PIL", "sqlglot", "rich"),
    *("matplotlib", "umap", "jinja2"),
)


def test_all_is_sorted_and_complete() -> None:
    assert mmsearch.__all__ == sorted(mmsearch.__all__)
    assert set(dir(mmsearch)) == set(mmsearch.__all__)


@pytest.mark.parametrize("name", mmsearch.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert (inspect.getdoc(getattr(mmsearch, name)) or "").strip()


def test_every_public_method_of_an_index_is_documented() -> None:
    methods = inspect.getmembers(mmsearch.Index, inspect.isfunction)
    public = [method for name, method in methods if not name.startswith("_")]
    assert len(public) > 8
    assert all(inspect.getdoc(method) for method in public)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        mmsearch.nonsense  # noqa: B018


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*(n for n in {HEAVY} if n in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(result.stdout.split("\n")[-2].split())


def test_importing_loads_no_library() -> None:
    assert loaded_by("import mmsearch") == set()
    assert loaded_by("import mmsearch.cli") == set()


def test_the_help_loads_no_library() -> None:
    assert loaded_by("from mmsearch.cli.app import run\nrun(['--help'])") == set()
    for command in ("query", "plot", "eval"):
        assert loaded_by(f"from mmsearch.cli.app import run\nrun(['{command}', '--help'])") == set()


def test_a_text_query_with_the_embedded_model_loads_no_torch(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("mini")
    (folder / "a.txt").write_text("a dog on the grass")
    try:
        with mmsearch.create(folder / "index") as index:
            index.add(folder / "a.txt")
    except mmsearch.ModelError as error:
        pytest.skip(f"the embedded weights are not there: {error}")
    code = f"import mmsearch\nprint(mmsearch.open({str(folder / 'index')!r}).search('dog')[0].rank)"
    loaded = loaded_by(code)
    assert "numpy" in loaded
    assert not loaded & {"torch", "transformers", "open_clip"}
