"""Recipes and codebooks: what is refused, what is trained, what comes back."""

import numpy as np
import pytest

from mmsearch.errors import UsageError
from mmsearch.store import ann
from mmsearch.store.ann import AnnIndex, check_recipe, choose_recipe, rows_to_train, train_codebook

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
        "IVF16,RaBitQ",
        "IDMap,IVF16,PQ8",
        "IVF0,PQ8",
        "IVF16,PQ7",
        "Flat",
        "HNSW32",
        "garbage",
        "",
    ],
)
def test_a_recipe_whose_codes_cannot_be_kept_is_refused_by_name(recipe: str) -> None:
    with pytest.raises(UsageError, match=f"recipe '{recipe}'"):
        check_recipe(recipe, DIM)


@pytest.mark.parametrize("recipe", ["IVF16,PQ8", "IVF4,SQ8", "IVF4,Flat", "PCA8,IVF4,PQ4", OPQ])
def test_codes_added_in_pieces_find_their_own_vectors(
    recipe: str, capfd: pytest.CaptureFixture[str]
) -> None:
    check_recipe(recipe, DIM)
    vectors = np.random.default_rng(0).standard_normal((300, DIM)).astype(np.float32)
    codebook = np.frombuffer(train_codebook(recipe, vectors), np.uint8)
    index = AnnIndex(codebook)
    ids = np.arange(300, dtype=np.int64) * 1000 + 7
    for rows in (slice(0, 200), slice(200, 300)):
        index.add(AnnIndex(codebook).encode(vectors[rows]), ids[rows])
    every = np.ones(300, dtype=bool)
    near = index.search(vectors[250], 30, index.nlist, ids=ids, allowed=every)
    assert ids[250] in near
    for allowed in (every, ids != ids[250], np.isin(ids, ids[[3, 250]]), ~every):
        found = index.search(vectors[250], 300, index.nlist, ids=ids, allowed=allowed)
        assert sorted(found.tolist()) == ids[allowed].tolist()
    assert capfd.readouterr() == ("", "")  # FAISS warns on stderr


@pytest.mark.parametrize("dim", [1, 7, 32, 256, 512, 768, 1024])
@pytest.mark.parametrize("rows", [50_000, 1_000_000, 30_000_000])
def test_the_chosen_recipe_fits_and_has_rows_enough_to_train(rows: int, dim: int) -> None:
    recipe = choose_recipe(rows, dim)
    check_recipe(recipe, dim)
    assert rows_to_train(recipe) <= ann.training_rows(recipe, dim)
    assert rows_to_train(recipe) <= rows


def test_a_rotation_is_a_recipe() -> None:
    check_recipe("OPQ8,IVF16,PQ8", DIM)


def test_a_codebook_gets_a_row_for_each_centroid() -> None:
    assert rows_to_train("IVF1024,PQ8") == 1024
    assert rows_to_train("IVF16,PQ8") == 256
    assert rows_to_train("IVF16,PQ8x10") == 1024
