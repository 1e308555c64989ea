"""Hubness correction: what is kept beside the vectors, and what searches make of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import DIM, FakeEncoder, fake_model, word_vector

import mmsearch
from mmsearch import Index, Modality, Model
from mmsearch.cli.printing import info_lines
from mmsearch.engine import bank, hubs
from mmsearch.engine.bank import descriptions, query_vectors
from mmsearch.records import FieldName, FloatArray, Space
from mmsearch.search import dense, effort
from mmsearch.search.hubs import HUB_SHARE
from mmsearch.store.field import Field
from mmsearch.store.manifest import Bank
from mmsearch.store.nearness import load_bank, nearness

Make = Callable[..., Index]
IMAGE, TEXT = Modality.IMAGE, Modality.TEXT


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank is worth its while for fewer vectors."""
    monkeypatch.setattr(hubs, "LEAST", 40)


def crowd(count: int, seed: int) -> FloatArray:
    """Unit vectors with something in common, so that some are hubs."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, DIM)) + 2 * rng.random((count, 1)) * word_vector("hub")
    unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)


def add(index: Index, folder: Path, modality: Modality, count: int, seed: int) -> None:
    """Vectors of pictures, or of texts, into an index."""
    path = folder / f"{modality}{seed}.npz"
    texts = np.array([f"t{seed}x{n}" for n in range(count)])
    np.savez(path, vector=crowd(count, seed).astype(np.float16), text=texts)
    assert index.add_vectors(path, modality=modality).added == count


def field_of(index: Index, modality: Modality) -> Field:
    with index._reader.view() as view:
        return view.state.fields[FieldName("fake", modality)]


def bank_of(index: Index, modality: Modality) -> Bank:
    (bank,) = field_of(index, modality).info.banks
    return bank


def check_kept(index: Index, modality: Modality) -> FloatArray:
    """Whether nearness belongs to the vectors and the bank; returns it."""
    field = field_of(index, modality)
    (bank,) = field.info.banks
    expected = nearness(field.matrix, load_bank(index.path, bank))
    kept = field.nearness[bank.asked].take(np.arange(field.rows))
    np.testing.assert_allclose(kept, expected, atol=1e-6)
    return kept


def test_nearness_is_the_mean_of_the_nearest_queries() -> None:
    vectors, bank = crowd(50, 0), crowd(70, 1)
    similarities = np.sort(vectors @ bank.T, axis=1)
    np.testing.assert_allclose(
        nearness(vectors, bank), similarities[:, -2:].mean(axis=1), rtol=1e-5
    )
    nearest = (vectors @ bank[:3].T).max(axis=1)
    np.testing.assert_allclose(nearness(vectors, bank[:3]), nearest, rtol=1e-5)


@pytest.fixture(params=[None, "OPQ8,IVF8,PQ8x4"])
def crowded(
    request: pytest.FixtureRequest,
    make_index: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Index:
    """Pictures and texts with hubs, searched exactly, and not."""
    monkeypatch.setattr(dense, "EXACT_CANDIDATES", 0)
    monkeypatch.setattr(effort, "FIRST_DEPTH", 145)
    index = make_index(recipe=request.param)
    add(index, tmp_path, IMAGE, 300, 0)
    add(index, tmp_path, TEXT, 280, 1)
    return index


def test_texts_and_pictures_find_each_other_by_corrected_scores(crowded: Index) -> None:
    index = crowded
    (picture,) = field_of(index, TEXT).info.banks
    assert picture.asked is IMAGE and picture.own
    field, kept = field_of(index, IMAGE), check_kept(index, IMAGE)
    cosines = field.matrix @ word_vector("query")
    scores = cosines - HUB_SHARE * kept
    best = np.argsort(-scores)[:20]
    assert [*best] != [*np.argsort(-cosines)[:20]]
    hits = index.search("query", target="image", k=20)
    assert [hit.item.id for hit in hits] == field.owners[best].tolist()
    signals = [(hit.signals["cosine"], hit.signals["hubness"]) for hit in hits]
    np.testing.assert_allclose(
        signals, np.stack([cosines, HUB_SHARE * kept], axis=1)[best], atol=1e-5
    )


def test_equal_vectors_are_equally_near_whatever_stands_beside_them() -> None:
    bank = np.random.default_rng(1).standard_normal((600, 512)).astype(np.float32)
    vectors = np.random.default_rng(0).standard_normal((4_100, 512)).astype(np.float32)
    whole = nearness(vectors, bank)
    parts = [nearness(vectors[at : at + 7], bank) for at in range(0, 4_100, 7)]
    assert (np.concatenate(parts) == whole).all()


def test_vectors_and_queries_of_one_modality_are_not_corrected(
    index: Index, tmp_path: Path
) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    add(index, tmp_path, TEXT, 60, 1)
    query = word_vector("query")
    for modality in (IMAGE, TEXT):
        field = field_of(index, modality)
        best = field.owners[np.argsort(-(field.matrix @ query))[:9]].tolist()
        asked = index.search(vector=query, target=modality, k=9)
        assert [hit.item.id for hit in asked] == best
    assert "hubness" not in index.search("query", target="text", k=1)[0].signals


def test_what_comes_later_is_kept_in_step(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    first = bank_of(index, IMAGE)
    assert not first.own and first.rows == 60
    for seed in range(10, 20):  # more than are merged
        add(index, tmp_path, IMAGE, 3, seed)
        check_kept(index, IMAGE)
    assert bank_of(index, IMAGE) == first
    index.remove(tmp_path / "image10.npz")
    index.compact()
    assert field_of(index, IMAGE).rows == 87
    assert len(check_kept(index, IMAGE)) == 87
    assert bank_of(index, IMAGE) == first


def test_a_bank_follows_what_the_index_has_become(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 39, 0)
    assert field_of(index, IMAGE).info.banks == ()
    add(index, tmp_path, IMAGE, 2, 1)
    assert (bank_of(index, IMAGE).own, bank_of(index, IMAGE).rows) == (False, 41)
    add(index, tmp_path, IMAGE, 4 * 41, 2)
    assert bank_of(index, IMAGE).rows == 5 * 41
    check_kept(index, IMAGE)
    add(index, tmp_path, TEXT, 40, 3)
    assert (bank_of(index, IMAGE).own, bank_of(index, IMAGE).rows) == (True, 40)
    add(index, tmp_path, TEXT, 120, 4)
    assert bank_of(index, IMAGE).rows == 160
    check_kept(index, IMAGE)
    assert bank_of(index, TEXT).asked is IMAGE
    check_kept(index, TEXT)
    index.remove([tmp_path / "text3.npz", tmp_path / "text4.npz"])
    add(index, tmp_path, IMAGE, 1, 5)  # what was removed asks no more
    assert (bank_of(index, IMAGE).own, bank_of(index, IMAGE).rows) == (False, 206)
    assert mmsearch.verify(index.path) == []


def test_info_says_what_is_corrected_and_by_what(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    bank = bank_of(index, IMAGE)
    (field,) = index.info().fields
    assert [(c.asked, c.queries, c.own) for c in field.corrections] == [(TEXT, bank.queries, False)]
    said = [*info_lines(index.info(), as_json=False)]
    expected = f"text queries: corrected for hubs by {bank.queries} of the reference bank"
    assert expected in [line.strip() for line in said]
    sizes = sum(path.stat().st_size for path in index.path.glob("0*"))
    assert field.size_bytes == sizes


def test_a_bank_is_about_what_the_field_is_about(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    bank = bank_of(index, IMAGE)
    assert 30 < bank.queries < 120  # of 500 texts the two nearest of each
    chosen, pictures = load_bank(index.path, bank), field_of(index, IMAGE).matrix
    candidates = query_vectors(index.model.encoder(FieldName("fake", TEXT)), 500)
    found, best = ((pictures @ queries.T).max(axis=1) for queries in (chosen, candidates))
    np.testing.assert_allclose(found, best, atol=1e-3)


def test_a_move_to_another_model_leaves_a_bank_of_that_model(index: Index, tmp_path: Path) -> None:
    from fakes import newer_model
    from media import picture

    folder = tmp_path / "pictures"
    for n in range(45):
        picture(folder / f"{n}.png", ["red", "green", "blue"][n % 3])
    index.add(folder)
    assert not bank_of(index, IMAGE).own
    index.reencode(newer_model())
    assert check_kept(index, IMAGE).shape == (45,)
    assert load_bank(index.path, bank_of(index, IMAGE)).shape[1] == 48


def test_a_bank_points_where_queries_do(tmp_path: Path) -> None:
    """Vectors of another length than one, of a model that does not normalise, ask like queries."""
    space = Space("fake", DIM, False, "tests", "2" * 64)
    model = Model(
        "long", tuple(type("Long", (FakeEncoder,), {"space": space})(m) for m in Modality)
    )
    with mmsearch.create(tmp_path / "index", model=model) as index:
        rows = {IMAGE: 5 * crowd(60, 0), TEXT: crowd(60, 1)}
        for modality, vectors in rows.items():
            path = tmp_path / f"{modality}.npz"
            texts = np.array([f"t{n}" for n in range(60)])
            np.savez(path, vector=vectors.astype(np.float16), text=texts)
            index.add_vectors(path, modality=modality)
        bank = load_bank(index.path, bank_of(index, TEXT))
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1, atol=1e-3)


def test_a_missing_bank_is_damage(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    next(index.path.glob("*.bank")).unlink()
    with pytest.raises(mmsearch.DamagedIndexError, match="repair"):
        add(index, tmp_path, IMAGE, 3, 1)


def test_damaged_nearness_costs_no_item(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    (path,) = index.path.glob("*.nearness")
    flipped = bytearray(path.read_bytes())
    flipped[8] ^= 1
    path.write_bytes(flipped)
    with mmsearch.open(index.path, model=fake_model()) as again:
        with pytest.raises(mmsearch.DamagedIndexError, match="repair"):
            again.search("query", target="image")
        assert [damage.where for damage in again.verify()] == [path.name]
    index.close()
    assert any(path.name in line for line in mmsearch.repair(index.path))
    with mmsearch.open(index.path, model=fake_model()) as again:
        assert "hubness" not in again.search("query", target="image")[0].signals
        add(again, tmp_path, IMAGE, 1, 1)
        assert "hubness" in again.search("query", target="image")[0].signals


def test_descriptions_are_sentences_and_the_first_of_more() -> None:
    some = descriptions(200, 0)
    assert some == descriptions(400, 0)[:200]
    assert len(set(some)) == 200
    assert not any("{" in text or "  " in text for text in some)


def test_embedding_texts_for_a_long_time_is_announced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encoder = FakeEncoder(TEXT)
    monkeypatch.setattr(encoder, "batch_size", 64)
    found = query_vectors(encoder, 500)
    assert not caplog.messages
    (kept,) = tmp_path.rglob("bank-*.npy")
    kept.unlink()
    monkeypatch.setattr(bank, "_LONG_S", 0)
    again = query_vectors(encoder, 500)
    assert np.array_equal(found, again)
    assert caplog.messages[0].startswith("embedding 500 texts, once for this model: ")
