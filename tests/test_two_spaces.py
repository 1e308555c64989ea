"""A model with a visual and an acoustic space: each query is compared in the right one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import DIM, FakeEncoder, fake_model, word_vector
from media import COLOURS, PITCHES_HZ, picture, sound, text

import mmsearch
from mmsearch import Index, Modality, Model, Space, UsageError
from mmsearch.engine import bank
from mmsearch.records import FieldName, FloatArray
from mmsearch.search.bridge import across

VISUAL = Space("visual", DIM, True, "tests", "1" * 64)
ACOUSTIC = Space("acoustic", DIM, True, "tests", "2" * 64)


class SpaceEncoder(FakeEncoder):
    """The fake encoder in a space of its own: cosines across spaces are chance."""

    def __init__(self, modality: Modality, space: Space) -> None:
        super().__init__(modality)
        self.space = space
        seed = int(space.sha256[0])
        normal = np.random.default_rng(seed).standard_normal((DIM, DIM))
        self._rotation: FloatArray = np.linalg.qr(normal)[0].astype(np.float32)

    def encode(self, prepared: Sequence[list[str]]) -> FloatArray:
        rotated: FloatArray = super().encode(prepared) @ self._rotation
        return rotated


def two_space_model() -> Model:
    pairs = [
        (Modality.TEXT, VISUAL),
        (Modality.IMAGE, VISUAL),
        (Modality.TEXT, ACOUSTIC),
        (Modality.AUDIO, ACOUSTIC),
    ]
    return Model("pair", tuple(SpaceEncoder(modality, space) for modality, space in pairs))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for colour in COLOURS:
        picture(folder / f"{colour}.png", colour)
    for pitch in PITCHES_HZ:
        sound(folder / f"{pitch}.wav", pitch)
    text(folder / "words.txt", "red high")
    return folder


@pytest.fixture(scope="module")
def index(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("pair") / "index"
    with mmsearch.create(folder, model=two_space_model()) as made:
        made.add(media)
        yield made


def test_a_text_has_a_vector_in_both_spaces_and_others_in_their_own(index: Index) -> None:
    assert {field.name: field.vectors for field in index.info().fields} == {
        FieldName("acoustic", Modality.AUDIO): 2,
        FieldName("acoustic", Modality.TEXT): 1,
        FieldName("visual", Modality.IMAGE): 3,
        FieldName("visual", Modality.TEXT): 1,
    }


def by_words(index: Index, words: str, target: str) -> tuple[str, float]:
    hit = index.search(words, target=target)[0]
    return hit.item.path.name, hit.signals["cosine"]


def test_words_are_compared_with_each_modality_in_its_own_space(index: Index) -> None:
    """Compared in the other space, cosines are near 0."""
    for target, names in (("image", COLOURS), ("audio", PITCHES_HZ)):
        for name in names:
            found, cosine = by_words(index, name, target)
            assert Path(found).stem == name
            assert cosine == pytest.approx(1, abs=1e-2)


def test_many_words_are_compared_with_each_modality_in_its_own_space(index: Index) -> None:
    """Encoded together, each text's vectors are those of the single search."""
    for target, names in (("image", list(COLOURS)), ("audio", list(PITCHES_HZ))):
        for words, hits in zip(names, index.search_many(names, target=target), strict=True):
            assert hits[0].item.path.stem == words
            assert hits[0].signals["cosine"] == pytest.approx(1, abs=1e-2)
            assert [hit.signals["cosine"] for hit in hits] == pytest.approx(
                [hit.signals["cosine"] for hit in index.search(words, target=target)], abs=1e-5
            )


def test_a_given_vector_is_of_the_space_that_is_named(index: Index) -> None:
    vector = index.model.encoder(FieldName("acoustic", Modality.TEXT)).encode([["high"]])[0]
    hit = index.search(vector=vector, space="acoustic", target="audio")[0]
    assert hit.item.path.stem == "high"
    assert hit.signals["cosine"] == pytest.approx(1, abs=1e-2)
    with pytest.raises(UsageError, match="several spaces; name one: visual, acoustic"):
        index.search(vector=vector)
    (bridged,) = index.search_many(vectors=vector[None], space="visual", target="audio")
    assert all(hit.approximate for hit in bridged)


def test_a_picture_and_a_sound_find_texts_in_their_own_space(index: Index, media: Path) -> None:
    for query in ({"image": media / "red.png"}, {"audio": media / "high.wav"}):
        hit = index.search(**query, target="text")[0]  # type: ignore[arg-type]
        assert hit.signals["cosine"] > 0.5


def test_a_text_in_both_spaces_is_shown_once(index: Index) -> None:
    names = [hit.item.path.name for hit in index.search("red high", k=100)]
    assert sorted(names) == sorted({*names})
    assert len(names) == 6


@pytest.fixture
def described(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Its texts say which colour goes with which pitch, and one says nothing of either."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bank, "bank_texts", lambda: ("something",))
    text(tmp_path / "one.txt", "red high")
    text(tmp_path / "two.txt", "blue low")
    text(tmp_path / "three.txt", "nothing much")
    with mmsearch.create(tmp_path / "index", model=two_space_model()) as made:
        made.add([media / "red.png", media / "blue.png", media / "high.wav", media / "low.wav"])
        made.add(tmp_path.glob("*.txt"))
        yield made


@pytest.mark.parametrize(
    ("option", "file", "target", "found"),
    [
        ("image", "red.png", "audio", "high.wav"),
        ("image", "blue.png", "audio", "low.wav"),
        ("audio", "high.wav", "image", "red.png"),
        ("audio", "low.wav", "image", "blue.png"),
    ],
)
def test_pictures_and_sounds_find_each_other_by_way_of_texts(
    described: Index, media: Path, option: str, file: str, target: str, found: str
) -> None:
    query = {option: media / file}
    hits = described.search(**query, target=target)  # type: ignore[arg-type]
    assert hits[0].item.path.name == found
    assert len(hits) == 2
    assert all(hit.approximate for hit in hits)
    both = described.search(**query, target=[target, "text"], k=9)  # type: ignore[arg-type]
    assert {hit.part.modality for hit in both if hit.approximate} == {Modality(target)}
    direct = described.search(**query, k=9)  # type: ignore[arg-type]
    assert {hit.part.modality for hit in direct} == {Modality.TEXT, Modality(option)}
    assert not any(hit.approximate for hit in direct)


QUERIES = {"text": "red high", "image": "red.png", "audio": "high.wav"}
FOUND = {"text": "one.txt", "image": "red.png", "audio": "high.wav"}


@pytest.mark.parametrize("target", list(FOUND))
@pytest.mark.parametrize("kind", list(QUERIES))
def test_all_nine_directions_with_two_spaces(
    described: Index, media: Path, kind: str, target: str
) -> None:
    asked = QUERIES[kind] if kind == "text" else media / QUERIES[kind]
    hit = described.search(**{kind: asked}, target=target)[0]  # type: ignore[arg-type]
    assert hit.item.path.name == FOUND[target]
    assert hit.approximate == ({kind, target} == {"image", "audio"})


@pytest.mark.parametrize("target", list(FOUND))
@pytest.mark.parametrize("kind", list(QUERIES))
def test_all_nine_directions_with_one_space(
    tmp_path: Path, media: Path, kind: str, target: str
) -> None:
    text(tmp_path / "one.txt", "red high")
    text(tmp_path / "two.txt", "blue low")
    asked = QUERIES[kind] if kind == "text" else media / QUERIES[kind]
    words = {"text": ["red", "high"], "image": ["red"], "audio": ["high"]}[kind]
    candidates = {
        "text": {"one.txt": ["red", "high"], "two.txt": ["blue", "low"]},
        "image": {"red.png": ["red"], "blue.png": ["blue"]},
        "audio": {"high.wav": ["high"], "low.wav": ["low"]},
    }[target]
    query = np.sum([word_vector(word) for word in words], axis=0)
    nearest = max(candidates, key=lambda name: query @ unit_sum(candidates[name]))
    with mmsearch.create(tmp_path / "index", model=fake_model()) as index:
        index.add([media / name for name in ("red.png", "blue.png", "high.wav", "low.wav")])
        index.add(tmp_path.glob("*.txt"))
        hit = index.search(**{kind: asked}, target=target)[0]  # type: ignore[arg-type]
    assert hit.item.path.name == nearest
    assert not hit.approximate


def unit_sum(words: Sequence[str]) -> FloatArray:
    summed = np.sum([word_vector(word) for word in words], axis=0)
    unit: FloatArray = summed / np.linalg.norm(summed)
    return unit


def test_the_bank_stands_in_where_an_index_holds_no_texts(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank, "bank_texts", lambda: ("red high", "blue low", "green"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = two_space_model()
    with mmsearch.create(tmp_path / "index", model=model) as index:
        index.add([media / "red.png", media / "blue.png", media / "high.wav", media / "low.wav"])
        assert index.search(image=media / "red.png", target="audio")[0].item.path.name == "high.wav"
        assert index.search(audio=media / "low.wav", target="image")[0].item.path.name == "blue.png"
    kept = sorted((tmp_path / "cache/mmsearch").iterdir())
    assert len(kept) == 2
    rows = np.load(kept[0])
    assert rows.shape == (3, DIM)
    # Another process reads them instead of embedding them again.
    np.save(kept[0], np.zeros_like(rows))
    np.save(kept[1], np.zeros_like(rows))
    again = two_space_model().encoders[0]
    assert not bank.bank_vectors(again).any()


def test_the_bank_is_of_phrases_each_once() -> None:
    texts = bank.bank_texts()
    assert len(texts) == len(set(texts)) > 250
    assert all(text == text.strip() and text for text in texts)


def test_a_query_across_spaces_follows_its_nearest_texts() -> None:
    rng = np.random.default_rng(0)
    near, far = (rng.standard_normal((50, dim)).astype(np.float32) for dim in (8, 6))
    found = across(3 * near[7], near, far)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    cosines = far @ found / np.linalg.norm(far, axis=1)
    assert cosines.argmax() == 7
    assert cosines[7] > 0.99


def test_words_beside_a_picture_reach_what_the_picture_cannot(index: Index, media: Path) -> None:
    hits = index.search("low", image=media / "red.png", target="audio")
    assert hits[0].item.path.name == "low.wav"


def test_nothing_but_unreachable_modalities_is_refused(tmp_path: Path, media: Path) -> None:
    with mmsearch.create(tmp_path / "i", model=two_space_model()) as index:
        index.add(media / "low.wav")
        with pytest.raises(UsageError, match="no space for both"):
            index.search(image=media / "red.png")
        assert index.search(image=media / "red.png", target="audio")[0].approximate


def test_an_index_is_refused_to_a_model_with_its_spaces_swapped(index: Index) -> None:
    encoders = two_space_model().encoders
    swapped = Model("pair", (*encoders[2:], *encoders[:2]))
    other = mmsearch.open(index.path, model=swapped)
    with other, pytest.raises(mmsearch.ModelError, match="visual"):
        other.search("red")
