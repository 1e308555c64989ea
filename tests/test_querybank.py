"""QB-Norm: what the paper's code computes, and what searches make of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_model, word_vector
from test_cli import Run
from test_cli import cli as cli  # a fixture
from test_hubs import IMAGE, TEXT, add, crowd, field_of
from test_hubs import crowded as crowded  # a fixture
from test_hubs import small as small  # a fixture
from test_prefer import add_in_order, texts

import mmsearch
from mmsearch import Index, UsageError
from mmsearch.records import FloatArray
from mmsearch.search.querybank import BETA, soft_nearness

Make = Callable[..., Index]


def unit_words(count: int) -> dict[str, FloatArray]:
    """Words that no file is called, and where they point."""
    words = [f"zq{chr(ord('a') + n // 8)}{chr(ord('a') + n % 8)}" for n in range(count)]
    return {word: word_vector(word) for word in words}


def inverted_softmax(cosines: FloatArray, bank: FloatArray) -> tuple[FloatArray, bool]:
    """One query's scores, and whether it is in the activation set.

    Args:
        cosines: (n,), with the rows.
        bank: (m, n), those of the bank with the rows.
    """
    activation = set(bank.argmax(axis=1).tolist())
    if int(cosines.argmax()) not in activation:
        return cosines, False
    return np.exp(BETA * cosines) / np.exp(BETA * bank).sum(axis=0), True


def test_soft_nearness_is_the_logarithm_of_the_normaliser() -> None:
    vectors, bank = crowd(5_000, 0), crowd(70, 1)
    expected = np.log(np.exp(BETA * vectors.astype(float) @ bank.T).mean(axis=1)) / BETA
    np.testing.assert_allclose(soft_nearness(vectors, bank), expected, atol=1e-6)
    parts = [soft_nearness(vectors[at : at + 7], bank) for at in range(0, 5_000, 7)]
    assert (np.concatenate(parts) == soft_nearness(vectors, bank)).all()


def test_the_order_is_that_of_the_dynamic_inverted_softmax(crowded: Index) -> None:
    index = crowded
    field = field_of(index, IMAGE)
    bank = field.bank(TEXT) @ field.matrix.T
    asked = [*unit_words(40)]
    active = []
    many = index.search_many(asked, target="image", hubs="qbnorm", k=5)
    for words, hits in zip(asked, many, strict=True):
        scores, is_active = inverted_softmax(field.matrix @ word_vector(words), bank)
        active.append(is_active)
        assert [hit.item.id for hit in hits] == field.owners[np.argsort(-scores)[:5]].tolist()
        assert ("hubness" in hits[0].signals) == is_active
        assert hits == index.search(words, target="image", hubs="qbnorm", k=5)
    assert 0 < sum(active) < len(active)


def test_what_is_corrected_is_the_cosine_and_its_background(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    field = field_of(index, IMAGE)
    bias = soft_nearness(field.matrix, field.bank(TEXT))
    for words, vector in unit_words(20).items():
        hits = index.search(words, target="image", hubs="qbnorm", k=60)
        if "hubness" not in hits[0].signals:
            continue
        scores = field.matrix @ vector - bias
        deviations = [(hit.signals["cosine"] - hit.signals["hubness"], hit) for hit in hits]
        np.testing.assert_allclose(
            [score for score, _ in deviations], np.sort(scores)[::-1], atol=1e-5
        )
        slopes = np.diff([hit.signals["standing"] for _, hit in deviations]) / np.diff(
            [score for score, _ in deviations]
        )
        np.testing.assert_allclose(slopes, slopes[0], rtol=1e-2)
        return
    raise AssertionError("none of the queries is in the activation set")


def test_none_leaves_cosines_as_they_are(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    for hit in index.search("query", target="image", hubs="none"):
        assert "hubness" not in hit.signals
    plain = index.search("query", target="image", hubs="none", k=60)
    cosines = [hit.signals["cosine"] for hit in plain]
    assert cosines == sorted(cosines, reverse=True)
    assert "hubness" in index.search("query", target="image")[0].signals


def test_fields_without_a_bank_are_searched_as_ever(index: Index) -> None:
    add_in_order(index, texts({"a": {}, "b": {}}))
    assert index.search("boat", hubs="qbnorm") == index.search("boat")


def test_what_was_removed_is_nobodys_nearest(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    index.remove(tmp_path / "image0.npz")
    add(index, tmp_path, IMAGE, 50, 1)
    later = field_of(index, IMAGE)
    alive = np.arange(60, 110)
    bank = later.bank(TEXT) @ later.matrix[alive].T
    for words, vector in unit_words(10).items():
        scores, _ = inverted_softmax(later.matrix[alive] @ vector, bank)
        hits = index.search(words, target="image", hubs="qbnorm", k=3)
        assert [h.item.id for h in hits] == later.owners[alive][np.argsort(-scores)[:3]].tolist()


def test_a_missing_bank_keeps_only_those_from_searching_who_need_it(
    index: Index, tmp_path: Path
) -> None:
    add(index, tmp_path, IMAGE, 60, 0)
    next(index.path.glob("*.bank")).unlink()
    with mmsearch.open(index.path, model=fake_model()) as again:
        assert again.search("query", target="image")
        with pytest.raises(
            mmsearch.DamagedIndexError, match=r"bank: missing; run .mmsearch repair"
        ):
            again.search("query", target="image", hubs="qbnorm")


def test_other_ways_are_refused(index: Index) -> None:
    with pytest.raises(UsageError, match="hubs is 'csls'; choose one of nnn, qbnorm, none"):
        index.search("query", hubs="csls")


def test_the_command_line_takes_a_way(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("boat")
    assert cli("index", "a.txt")[0] == 0
    code, out, _ = cli("query", "boat", "--hubs", "qbnorm", "--json")
    assert code == 0 and '"hubs": "qbnorm"' in out
    assert cli("query", "boat", "--hubs", "csls")[0] == 2
