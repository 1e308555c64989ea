"""Recipes and codebooks: what is refused, what is trained, what comes back."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError, UsageError
from mmsearch.store import ann
from mmsearch.store.ann import AnnIndex
from mmsearch.store.codebook import train_codebook
from mmsearch.store.codes import Codes, join_codes, write_codes
from mmsearch.store.exact import inner_products
from mmsearch.store.files import FileInfo
from mmsearch.store.recipes import check_recipe, choose_recipe, rows_to_train, training_rows
from mmsearch.store.runs import load_runs, map_runs
from mmsearch.store.selection import Selection

DIM = 16
OPQ = pytest.param("OPQ2_4,IVF4,PQ2", marks=pytest.mark.soak)  # 12 s on a busy machine


@pytest.mark.parametrize(
    "recipe",
    [
        "IVF16,PQ8x4fs",
        "PQ16x4fs",
        "IVF16,PQ8x4fsr",
        "PQ16x4fsr",
        "IVF16,PQ8x4fs,RFlat",
        "IVF16,PQ8,RFlat",
        "IVF16,RaBitQfs",
        "IDMap,IVF16,PQ8",
        "IVF0,PQ8",
        "IVF16_HNSW,SQ8",
        "IVF16(HNSW8),SQ8",
        "IVF16_NSG8,SQ8",
        "PCA8,OPQ8,IVF16,PQ8x4",
        "IVF16,PQ7",
        "Flat",
        "HNSW32",
        "garbage",
        "",
    ],
)
def test_a_recipe_whose_codes_cannot_be_kept_is_refused_by_name(recipe: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"recipe '{recipe}'")):
        check_recipe(recipe, DIM)


FAST = ["OPQ8,IVF4,PQ8x4", "IVF4,PQ8x4", "PCA8,IVF4,PQ4x4"]
"""Codes of 4 bits, which are arranged for fast scan."""


RABITQ = ["IVF4,RaBitQ", "RR16,IVF4,RaBitQ4"]
GRAPHS = ["IVF16_HNSW8,PQ8", "OPQ8,IVF16_HNSW8,PQ8x4"]
"""Lists that a graph finds."""


@pytest.mark.parametrize(
    "recipe", ["IVF16,PQ8", "IVF4,SQ8", "IVF4,Flat", "PCA8,IVF4,PQ4", OPQ, *FAST, *RABITQ, *GRAPHS]
)
def test_codes_added_in_pieces_find_their_own_vectors(
    recipe: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_recipe(recipe, DIM)
    vectors = np.random.default_rng(0).standard_normal((300, DIM)).astype(np.float32)
    codebook = np.frombuffer(train_codebook(recipe, vectors), np.uint8)
    ends = (70, 200, 250, 270, 290, 300)
    parts = [segment_of(tmp_path, codebook, vectors[a:b]) for a, b in pairwise((0, *ends))]
    index = load_runs((), codebook, [Codes(tmp_path, part) for part in parts[:2]])
    for count in (3, 4, 5, 6):
        index = load_runs(index.runs, codebook, [Codes(tmp_path, part) for part in parts[:count]])
    assert [(run.start, run.stop) for run in index.runs] == [(0, 200), (200, 290), (290, 300)]
    merged = join_codes(tmp_path, "merged.codes", parts[1:5])
    one_file = join_codes(tmp_path, "all.codes", [parts[0], merged, parts[5]])
    mapped = map_runs(
        (), codebook, [Codes(tmp_path, file) for file in (parts[0], merged, parts[5])]
    )
    assert [(run.start, run.stop) for run in mapped.runs] == [(0, 70), (70, 290), (290, 300)]
    half = load_runs(index.runs[:2], codebook, [Codes(tmp_path, one_file)])  # most is known
    assert [(run.start, run.stop) for run in half.runs] == [(0, 200), (200, 290), (290, 300)]
    rows = np.arange(300)
    for runs in (index, mapped, half, map_runs((), codebook, [Codes(tmp_path, one_file)])):
        whole = Selection(rows >= 0)
        assert 250 in runs.search(vectors[250:251], 30, runs.nlist, 0.25, whole)
        for allowed in (rows >= 0, rows != 250, np.isin(rows, (3, 250)), rows < 0):
            some = Selection(allowed)
            for found in runs.search(vectors[[250, 3]], 300, runs.nlist, 0.25, some):
                assert sorted(found[found >= 0]) == rows[allowed].tolist()
    assert capfd.readouterr() == ("", "")  # FAISS warns on stderr


def segment_of(folder: Path, codebook: NDArray[np.uint8], vectors: NDArray[np.float32]) -> FileInfo:
    """Write the codes of some vectors, a block at a time."""
    index, blocks = AnnIndex(codebook), np.array_split(vectors, 3)
    name = f"{len([*folder.iterdir()])}.codes"
    return write_codes(folder, name, index.nlist, map(index.encode, blocks))


def test_what_a_file_estimates_is_what_memory_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (unit(rng.standard_normal((n, DIM))) for n in (2000, 20))
    for recipe in ("IVF16,SQ8", "RR16,IVF16,RaBitQ", "IVF16,PQ8"):
        codebook = np.frombuffer(train_codebook(recipe, vectors), np.uint8)
        codes = Codes(tmp_path, segment_of(tmp_path, codebook, vectors))
        loaded, mapped = AnnIndex(codebook), AnnIndex(codebook)
        loaded.add(codes, 0)
        mapped.map(codes)
        (scores, rows), (same, others) = (
            one.search(one.probe(queries, 4, 0.25), 50) for one in (loaded, mapped)
        )
        assert np.array_equal(scores, same)
        alone = np.diff(scores, prepend=np.inf, append=-np.inf) < 0  # equal ones may change places
        kept = alone[:, :-1] & alone[:, 1:]
        assert np.array_equal(rows[kept], others[kept]) and kept.mean() > 0.5


def test_a_damaged_list_is_refused_where_it_is_looked_into(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((4000, DIM)))
    codebook = np.frombuffer(train_codebook("IVF16,SQ8", vectors), np.uint8)
    file = segment_of(tmp_path, codebook, vectors)
    raw = bytearray((tmp_path / file.name).read_bytes())
    raw[file.payload_bytes - 1] ^= 1
    (tmp_path / file.name).write_bytes(raw)
    index = AnnIndex(codebook)
    index.map(Codes(tmp_path, file))
    queries = index._centroids.quantizer.reconstruct_n(0, 16)
    assert index.search(index.probe(queries[:1], 1, 0.001), 5)[1].min() >= 0
    with pytest.raises(DamagedIndexError, match="checksum"):
        index.search(index.probe(queries[-1:], 1, 0.001), 5)


def test_queries_from_elsewhere_find_more_than_in_the_lists_of_faiss(tmp_path: Path) -> None:
    """Texts among pictures: they share what is meant, and lie around another mean."""
    rng, dim = np.random.default_rng(0), 32
    means = 1.2 * unit(rng.standard_normal((2, dim)))
    centres = noise(rng, 100, dim)

    def latent(count: int) -> NDArray[np.float64]:
        chosen = (100 * rng.random(count) ** 2).astype(int)
        found: NDArray[np.float64] = centres[chosen] + 0.6 * noise(rng, count, dim)
        return found

    rows = unit(means[0] + latent(6000))
    queries = unit(means[1] + latent(300) + noise(rng, 300, dim))
    exact = np.argsort(-queries @ rows.T, axis=1)[:, :10]
    theirs: Any = faiss.index_factory(dim, "IVF64,Flat", faiss.METRIC_INNER_PRODUCT)
    theirs.train(rows)
    theirs.add(rows)
    theirs.nprobe = 8
    ours = AnnIndex(np.frombuffer(train_codebook("IVF64,Flat", rows), np.uint8))
    codes = write_codes(tmp_path, "codes", ours.nlist, [ours.encode(rows)])
    ours.add(Codes(tmp_path, codes), 0)
    scores, found = ours.search(ours.probe(queries, 8, 0.5), 10)
    assert np.allclose(scores, np.einsum("nd,nkd->nk", queries, rows[found]), atol=1e-5)
    assert shared(found, exact) > shared(theirs.search(queries, 10)[1], exact) + 0.03
    assert shared(found, exact) > 0.9


def test_a_graph_finds_nearly_the_lists_that_comparing_all_does() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (unit(rng.standard_normal((n, DIM))) for n in (3000, 100))
    graph, every = (
        AnnIndex(np.frombuffer(train_codebook(recipe, vectors), np.uint8)).probe(queries, 16, 0.25)
        for recipe in ("IVF256_HNSW32,SQ8", "IVF256,SQ8")
    )
    assert shared(graph.lists, every.lists) > 0.99
    same = graph.lists == every.lists
    assert np.allclose(graph.scores[same], every.scores[same], atol=1e-5)


def test_rows_go_to_the_nearest_list_whether_a_graph_finds_it_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((3000, DIM)))
    codebook = np.frombuffer(train_codebook("IVF256_HNSW2,SQ8", vectors), np.uint8)
    index = AnnIndex(codebook)
    centroids = index._centroids.quantizer.reconstruct_n(0, 256)
    nearest = (vectors @ centroids.T - np.square(centroids).sum(axis=1) / 2).argmax(axis=1)
    assert np.array_equal(index.encode(vectors).lists, nearest)
    monkeypatch.setattr(ann, "FILLED_BY_GRAPH", 256)
    by_graph = AnnIndex(codebook).encode(vectors).lists
    assert 0.5 < (by_graph == nearest).mean() < 1


def test_lists_that_a_graph_does_not_find_do_not_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((40, DIM))[rng.integers(0, 40, 3000)])
    vectors = unit(vectors + 0.02 * rng.standard_normal((3000, DIM)))
    codebook = np.frombuffer(train_codebook("OPQ8,IVF256_HNSW4,PQ8x4", vectors), np.uint8)
    codes = Codes(tmp_path, segment_of(tmp_path, codebook, vectors))
    loaded, mapped = AnnIndex(codebook), AnnIndex(codebook)
    loaded.add(codes, 0)
    loaded.pack()
    mapped.map(codes)
    probes = loaded.probe(vectors[:50], 256, 0.25)
    assert (probes.lists < 0).any()
    rows, others = (index.search(probes, 200)[1] for index in (loaded, mapped))
    assert shared(rows, others) > 0.9


def test_lists_are_chosen_by_their_reach_and_scored_by_their_centroids() -> None:
    rng = np.random.default_rng(0)
    rows, queries = 3 * rng.standard_normal((500, DIM)), rng.standard_normal((20, DIM))
    codebook = np.frombuffer(train_codebook("PCA8,IVF16,PQ4", rows.astype(np.float32)), np.uint8)
    probes = AnnIndex(codebook).probe(queries.astype(np.float32), 16, 0.25)
    index = faiss.deserialize_index(np.array(codebook))
    centroids = faiss.extract_index_ivf(index).quantizer.reconstruct_n(0, 16)
    products = probes.queries @ centroids.T
    order = np.argsort(-(products - 0.25 * np.square(centroids).sum(axis=1)), axis=1)
    assert np.array_equal(probes.lists, order)
    assert np.allclose(probes.scores, np.take_along_axis(products, order, axis=1), atol=1e-3)


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return found.astype(np.float32)


def noise(rng: np.random.Generator, count: int, dim: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = rng.standard_normal((count, dim)) / dim**0.5
    return found


def shared(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    both = (len({*a} & {*b}) for a, b in zip(found.tolist(), exact.tolist(), strict=True))
    return float(sum(both) / exact.size)


@pytest.mark.parametrize("dim", [1, 7, 32, 256, 512, 768, 1024])
@pytest.mark.parametrize("rows", [50_000, 1_000_000, 30_000_000, 500_000_000])
def test_the_chosen_recipe_fits_and_has_rows_enough_to_train(rows: int, dim: int) -> None:
    recipe = choose_recipe(rows, dim)
    check_recipe(recipe, dim)
    assert rows_to_train(recipe) <= training_rows(recipe, dim)
    assert rows_to_train(recipe) <= rows


@pytest.mark.parametrize(("rows", "dim"), [(0, 8), (1, 1), (500, 7), (300, 512)])
def test_half_floats_are_multiplied_exactly(rows: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, dim)).astype(np.float16)
    vectors[::7] = vectors[:1]
    query = rng.standard_normal(dim).astype(np.float32)
    products = inner_products(vectors, query)
    assert np.allclose(products, vectors.astype(np.float64) @ query, rtol=1e-5, atol=1e-5)
    assert len(set(products[::7].tolist())) <= 1
    assert np.array_equal(inner_products(vectors[::-1], query), products[::-1])


def test_a_vector_that_is_not_finite_is_last() -> None:
    vectors = np.ones((3, 4), np.float16)
    vectors[1] = np.nan
    assert inner_products(vectors, np.ones(4, np.float32)).tolist() == [4, -np.inf, 4]


def test_a_rotation_is_a_recipe() -> None:
    check_recipe("OPQ8,IVF16,PQ8", DIM)


def test_a_codebook_gets_a_row_for_each_centroid() -> None:
    assert rows_to_train("IVF1024,PQ8") == 1024
    assert rows_to_train("IVF16,PQ8") == 256
    assert rows_to_train("IVF16,PQ8x10") == 1024
