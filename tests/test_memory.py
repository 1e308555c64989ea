"""A budget of memory for codes: which codes fit, when they are made anew, who is told."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import DIM, fake_model, newer_model
from test_cli import Run, cli, media
from test_tune import clusters

import mmsearch
from mmsearch import Index, Modality, UsageError
from mmsearch.config import parse_size
from mmsearch.records import FieldName
from mmsearch.store import plan
from mmsearch.store.ann import AnnIndex
from mmsearch.store.codebook import train_codebook
from mmsearch.store.files import FileInfo
from mmsearch.store.manifest import FieldInfo, Manifest, SegmentInfo
from mmsearch.store.plan import MARK_BYTES, Plan, needed_bytes
from mmsearch.store.recipes import check_recipe, choose_recipe, code_sizes, form_of

__all__ = ["cli", "media"]  # fixtures
ROWS = 1_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields get codes early, and are not trained anew because they have grown."""
    monkeypatch.setattr(plan, "EXACT_ROWS", 300)
    monkeypatch.setattr(plan, "OUTGROWN", 10**6)


def codes(recipe: str) -> str:
    return recipe.rpartition(",")[2]


def codes_of(index: Index) -> list[str]:
    return [codes(field.recipe) for field in index.info().fields]


def budget(rows: int, code_bytes: int) -> int:
    return rows * (code_bytes + MARK_BYTES)


def field(modality: Modality, rows: int, dim: int) -> FieldInfo:
    file = FileInfo("a", 0, "")
    return FieldInfo(FieldName("s", modality), dim, (SegmentInfo(file, None, rows, rows),))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("2GB", 2 * 10**9),
        ("2 gb", 2 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("512M", 512 * 10**6),
        ("700KB", 700_000),
        ("3tib", 3 * 2**40),
        ("100", 100),
        (4096, 4096),
    ],
)
def test_sizes_are_decimal_or_binary(size: str | int, expected: int) -> None:
    assert parse_size(size) == expected


@pytest.mark.parametrize("size", ["", "GB", "two GB", "-1GB", "0", "2GBit", "1e9", "2 G B"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(UsageError, match="give a size, such as 2GB"):
        parse_size(size)


@pytest.mark.parametrize("dim", [1, 7, 32, 512, 768])
def test_the_largest_codes_that_fit_are_chosen(dim: int) -> None:
    sizes = list(code_sizes(dim).values())
    assert sizes == sorted(sizes, reverse=True)
    for limit in (*sizes, 2 * dim, 0.5 * sizes[-1]):
        recipe = choose_recipe(10_000, dim, limit)
        check_recipe(recipe, dim)
        chosen = code_sizes(dim)[form_of(recipe)]
        assert chosen == max((size for size in sizes if size <= limit), default=sizes[-1])
    pq = {f"OPQ{2 * size},IVF{{}},PQ{2 * size}x4": size for size in (256, 128, 64, 32, 16)}
    assert code_sizes(512) == {"IVF{},SQ8": 512} | pq


def test_every_code_takes_the_bytes_that_are_reckoned_with() -> None:
    vectors = clusters(0, 400)
    for form, size in code_sizes(DIM).items():
        index = AnnIndex(np.frombuffer(train_codebook(form.format(4), vectors), np.uint8))
        assert index.encode(vectors).codes.shape == (400, size)


def test_fields_share_the_budget_by_rows_and_dimensions() -> None:
    fields = [field(Modality.TEXT, 1_000, 64), field(Modality.IMAGE, 3_000, 512)]
    manifest = Manifest("m", (), memory_bytes=sum(f.rows * f.dim for f in fields))
    shared = Plan.of(manifest, fields)
    assert shared.dimension_bytes == 1
    assert [codes(shared.recipe_of(f)) for f in fields] == ["PQ64x4", "PQ512x4"]
    assert Plan.of(Manifest("m", ()), fields).recipe_of(fields[1]).endswith("PQ128x4")
    needed = needed_bytes(fields)
    least = Plan.of(Manifest("m", (), memory_bytes=needed), fields)
    assert [codes(least.recipe_of(f)) for f in fields] == ["PQ4x4", "PQ256x4"]


def test_codes_shrink_as_the_index_grows_and_grow_when_it_shrinks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        np.save(tmp_path / f"{name}.npy", clusters(seed, ROWS))
    memory = budget(2 * ROWS, 8)
    with mmsearch.create(tmp_path / "i", model=fake_model(), memory=memory) as index:
        seen = []
        for name in ("a", "b", "c"):
            index.add_vectors(tmp_path / f"{name}.npy")
            seen += codes_of(index)
        assert seen == ["SQ8", "PQ16x4", "PQ2x4"]  # of 17.3 bytes a vector, 18 are marks
        assert "even the smallest codes need 0.1 MB of memory, more than the 0.1 MB" in caplog.text
        assert index.verify() == []
        (hit,) = index.search(vector=clusters(3, ROWS)[7], k=1)
        assert hit.item.row == "8"
        index.remove([tmp_path / "b.npy", tmp_path / "c.npy"])
        caplog.clear()
        index.compact()
        assert codes_of(index) == ["SQ8"]
        assert index.info().memory_bytes == memory
    assert not caplog.records


def test_without_a_budget_nothing_changes(
    make_index: Callable[..., Index], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "a.npy", clusters(1, ROWS))
    index = make_index()
    index.add_vectors(tmp_path / "a.npy")
    index.compact()
    assert codes_of(index) == ["PQ8x4"]
    assert index.info().memory_bytes is None
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_the_budget_moves_to_another_model(make_index: Callable[..., Index]) -> None:
    index = make_index(memory=budget(ROWS, 32))
    words = [
        mmsearch.Item(f"i/{n}", (mmsearch.Part("t", Modality.TEXT, text=f"word{n}"),))
        for n in range(400)
    ]
    index.add(words)
    assert codes_of(index) == ["SQ8"]
    index.reencode(newer_model())
    assert codes_of(index) == ["SQ8"]
    assert index.info().memory_bytes == budget(ROWS, 32)


def test_a_budget_and_a_recipe_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="recipe and memory: give one"):
        mmsearch.create(tmp_path / "i", model=fake_model(), recipe="IVF4,PQ8", memory="1GB")
    assert not (tmp_path / "i").exists()


def test_the_command_line_makes_an_index_with_a_budget(cli: Run, media: Path) -> None:
    assert cli("index", str(media), "--memory", "much")[0] == 2
    assert cli("index", str(media), "--memory", "2GB")[0] == 0
    assert "codes within 2,000.0 MB of memory" in cli("info")[1]
    assert cli("index", str(media), "--memory", "2000MB")[0] == 0
    code, _, err = cli("index", str(media), "--memory", "3GB")
    assert code == 2
    assert "made with 2,000,000,000 bytes of memory; use --index" in err
