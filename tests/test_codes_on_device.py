"""Codes on a torch device, and lists that it trains: a CPU where there is no GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from fakes import DIM, fake_model
from numpy.typing import NDArray
from test_ann import segment_of
from test_on_device import DEVICE, RECIPE, answers, field_of, rows_of
from test_pool import crowded

import mmsearch
from mmsearch import DeviceError, Index
from mmsearch.records import FloatArray
from mmsearch.search import dense, effort
from mmsearch.store import codebook, codes_on_device, field, lists_on_device
from mmsearch.store.ann import AnnIndex
from mmsearch.store.codebook import train_codebook
from mmsearch.store.codes import Codes
from mmsearch.store.codes_on_device import CodesOnDevice
from mmsearch.store.lists_on_device import ListsOnDevice, train_lists

Make = Callable[..., Index]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No field that is small enough to be scored whole."""
    monkeypatch.setattr(dense, "EXACT_CANDIDATES", 0)


@pytest.fixture
def only_codes_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "fits", lambda size, device: size % (2 * DIM))


@pytest.mark.usefixtures("only_codes_fit")
def test_what_has_room_for_its_codes_only_is_searched_by_them_there(make_index: Make) -> None:
    index = make_index(recipe=RECIPE)
    with (
        mmsearch.open(index.path, model=fake_model(), search_device=DEVICE) as opened,
        mmsearch.open(index.path, model=fake_model(), map_codes=True) as mapped,
    ):
        before: list[AnnIndex] = []
        for start in range(0, 300, 60):
            index.add(crowded(start + 60)[start:])
            assert answers(opened) == answers(mapped)
            runs = field_of(opened).ann
            assert runs and all(run.index.file is not None for run in runs.runs)
            held = [run.index for run in runs.runs]
            assert held[:-1] == before[: len(held) - 1]  # only what is new or merged is copied
            before = held
        index.remove([f"i{n}" for n in range(0, 180, 3)])
        for filtered in (None, "path in ('i7', 'i8', 'i10')", "path >= 'i2'"):
            assert answers(opened, where=filtered) == answers(mapped, where=filtered)
        index.compact()
        assert answers(opened) == answers(mapped)


@pytest.mark.usefixtures("only_codes_fit")
def test_codes_of_other_kinds_stay_with_faiss(make_index: Make) -> None:
    index = make_index(recipe="IVF8,SQ8")
    index.add(crowded(300))
    with mmsearch.open(index.path, model=fake_model(), search_device=DEVICE) as opened:
        assert answers(opened) == answers(index)


@pytest.mark.parametrize(
    "recipe", ["OPQ8,IVF8,PQ8x4", "PCA9,IVF16,PQ3x4", "IVF16,PQ8", "OPQ8,IVF64_HNSW4,PQ8x4"]
)
@pytest.mark.parametrize("block_bytes", [1, 20_000, 2**29])
def test_what_a_device_estimates_is_what_faiss_does(
    recipe: str, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes_on_device, "_BLOCK_BYTES", block_bytes)
    rows, queries = np.unique(rows_of(900, 0), axis=0), rows_of(20, 1)
    codebook = np.frombuffer(train_codebook(recipe, rows), np.uint8)
    codes = Codes(tmp_path, segment_of(tmp_path, codebook, rows))
    mapped, held = AnnIndex(codebook), AnnIndex(codebook)
    mapped.map(codes)
    held.hold(codes, torch.device(DEVICE))
    allowed = np.packbits(np.random.default_rng(0).random(len(rows)) < 0.3, bitorder="little")
    for nprobe, depth in [(1, 5), (4, 700), (100, 50)]:
        probes = mapped.probe(queries, nprobe, 0.25)
        for bits in (None, allowed, np.zeros_like(allowed)):
            (scores, theirs), (same, ours) = (
                index.search(probes, depth, bits) for index in (mapped, held)
            )
            assert np.array_equal(theirs < 0, ours < 0)
            found = theirs >= 0
            assert np.allclose(scores[found], same[found], atol=1e-5)
            assert (same[~found] == -np.inf).all()
            alone = np.diff(scores, prepend=np.inf, append=np.inf) < -1e-5
            alone = alone[:, :-1] & alone[:, 1:]  # equal ones may change places
            assert np.array_equal(ours[alone], theirs[alone]) and (alone.any() or not found.any())


@pytest.mark.usefixtures("only_codes_fit")
def test_a_full_device_says_so_in_a_line(make_index: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(recipe=RECIPE)
    index.add(crowded(120))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    with mmsearch.open(index.path, model=fake_model(), search_device=DEVICE) as opened:
        before = answers(opened)
        with monkeypatch.context() as patched:
            patched.setattr(CodesOnDevice, "_search", full)
            patched.setattr(ListsOnDevice, "_nearest", full)
            for work in (lambda: answers(opened), opened.compact):
                with pytest.raises(DeviceError, match="its memory is full; free some, or leave"):
                    work()
        assert answers(opened) == before


@pytest.mark.parametrize("nlist", [1, 7, 200])
def test_lists_are_trained_as_well_as_by_faiss(nlist: int) -> None:
    rows = rows_of(900, 0)
    centroids = train_lists(rows, nlist, 10, torch.device(DEVICE))
    cells: Any = faiss.IndexFlatL2(DIM)
    theirs: Any = faiss.Kmeans(DIM, nlist, niter=10, min_points_per_centroid=1)
    theirs.train(rows)
    distances = []
    for some in (centroids, theirs.centroids):
        cells.reset()
        cells.add(some)
        distances.append(cells.search(rows, 1)[0].mean())
    assert distances[0] <= 1.05 * distances[1] + 1e-6


def test_rows_are_given_to_the_nearest_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists_on_device, "_BLOCK_BYTES", 4 * 50 * 7)
    rows, centroids = rows_of(300, 0), 2 * rows_of(50, 1)[::-1].copy()
    found = ListsOnDevice(torch.from_numpy(centroids).to(DEVICE)).nearest(rows)
    distances = np.square(rows[:, None] - centroids).sum(axis=2)
    assert np.allclose(distances[np.arange(300), found], distances.min(axis=1), atol=1e-5)


def test_lists_without_rows_begin_anew() -> None:
    rows = rows_of(40, 0)
    far = np.full((1, DIM), 100, np.float32)
    lists = ListsOnDevice(torch.from_numpy(np.vstack([rows[:3], far])).to(DEVICE))
    moved = lists.moved(torch.from_numpy(rows).to(DEVICE), torch.Generator().manual_seed(0)).numpy()
    assert (moved[3] == rows).all(axis=1).any()


@pytest.mark.parametrize("recipe", [RECIPE, "IVF8,SQ8", "PCA8,IVF8,PQ8x4", "IVF8_HNSW8,PQ8"])
def test_a_device_trains_lists_and_fills_them(
    make_index: Make, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, filled = list[int](), list[int]()

    def training(sample: FloatArray, *arguments: Any) -> FloatArray:
        trained.append(len(sample))
        return train_lists(sample, *arguments)

    def filling(lists: ListsOnDevice, vectors: FloatArray) -> NDArray[np.int64]:
        filled.append(len(vectors))
        return nearest(lists, vectors)

    nearest = ListsOnDevice.nearest
    monkeypatch.setattr(ListsOnDevice, "nearest", filling)
    monkeypatch.setattr(codebook, "train_lists", training)
    path = make_index(recipe=recipe).path
    with mmsearch.open(path, model=fake_model(), search_device=DEVICE) as writing:
        writing.add(crowded(300))
        rows = [field_of(writing).rows]
        assert trained == ([] if recipe.startswith("PCA") else rows)  # behind PCA FAISS trains all
        assert filled == rows
        writing.add(crowded(310)[300:])
        assert sum(filled) == field_of(writing).rows > rows[0]
        writing.compact()
        monkeypatch.setattr(effort, "FIRST_DEPTH", 10_000)
        with mmsearch.open(path, model=fake_model()) as index:
            assert answers(index) == answers(writing)  # which searches exactly
