"""Near-duplicates are folded into one hit, other pictures are not."""

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEncoder
from PIL import Image

import mmsearch
from mmsearch import Index, Item, Modality, Model, Part
from mmsearch.engine.folding import difference_hash
from mmsearch.records import FloatArray

SIDE = 120


class Pixels(FakeEncoder):
    """Pictures as their greys in a grid of four: what is alike lies near, not at one place."""

    def prepare(self, decoded: object) -> list[str]:
        return super().prepare(decoded) if isinstance(decoded, str) else [decoded]  # type: ignore[list-item]

    def encode(self, prepared: object) -> FloatArray:
        rows = [
            np.asarray(one[0].resize((4, 4)).convert("L"), float).ravel().repeat(2)
            if isinstance(one[0], Image.Image)
            else super(Pixels, self).encode([one])[0]
            for one in prepared  # type: ignore[attr-defined]
        ]
        matrix = np.stack(rows) + 1e-3
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


def scene(seed: int) -> Image.Image:
    """Soft patches of colour, other ones for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


@pytest.fixture
def album(tmp_path: Path) -> Index:
    """Five scenes; the first is there four times, the second twice."""
    folder = tmp_path / "album"
    folder.mkdir()
    for seed in range(5):
        scene(seed).save(folder / f"{seed}.png")
    scene(0).save(folder / "0-saved.jpg", quality=40)
    scene(0).resize((SIDE // 2, SIDE // 2)).save(folder / "0-small.png")
    Image.eval(scene(0), lambda value: value * 3 // 4).save(folder / "0-dark.png")
    scene(1).save(folder / "1-saved.jpg", quality=60)
    index = mmsearch.create(
        tmp_path / "index",
        model=Model("pixels", (Pixels(Modality.IMAGE), FakeEncoder(Modality.TEXT))),
    )
    index.add(folder)
    return index


def scenes(hits: list[mmsearch.Hit]) -> list[str]:
    return sorted(hit.item.path.stem[0] for hit in hits)


def test_near_duplicates_are_one_hit(album: Index) -> None:
    every = album.search("word", k=20)
    assert len(every) == 9
    hits = album.search("word", k=20, dedupe=True)
    assert scenes(hits) == ["0", "1", "2", "3", "4"]
    folded = {hit.item.path.stem[0]: len(hit.duplicates) for hit in hits}
    assert folded == {"0": 3, "1": 1, "2": 0, "3": 0, "4": 0}
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    first = {one: next(h for h in every if h.item.path.stem[0] == one) for one in folded}
    assert {hit.item.id for hit in hits} == {hit.item.id for hit in first.values()}


def test_others_move_up(album: Index) -> None:
    for k in (1, 2, 3, 4, 5):
        assert len(album.search("word", k=k, dedupe=True)) == k
    two = album.search("word", k=2, dedupe=True)
    assert [h.item.id for h in two] == [h.item.id for h in album.search("word", k=9, dedupe=True)][
        :2
    ]


def test_what_cannot_be_read_again_is_compared_by_its_vector(album: Index, tmp_path: Path) -> None:
    for path in (tmp_path / "album").iterdir():
        path.unlink()
    hits = album.search("word", k=20, dedupe=True)
    assert 5 <= len(hits) <= 9
    assert set(scenes(hits)) == {"0", "1", "2", "3", "4"}


def test_equal_texts_are_folded_and_others_are_not(index: Index) -> None:
    texts = ["dog sun", "dog sun", "dog moon", "cat"]
    index.add([Item(f"i{n}", (Part("text", Modality.TEXT, text=t),)) for n, t in enumerate(texts)])
    hits = index.search("dog", k=10, dedupe=True)
    assert sorted(hit.text or "" for hit in hits) == ["cat", "dog moon", "dog sun"]
    (folded,) = [hit for hit in hits if hit.duplicates]
    assert "stands for 1 more that are like it" in folded.explain()[-1]


def test_a_hash_tells_which_pixels_are_darker_than_the_next() -> None:
    pixels = np.tile(np.arange(9, dtype=np.uint8), (8, 1))
    assert difference_hash(pixels).all()
    assert not difference_hash(pixels[:, ::-1]).any()
    assert difference_hash(pixels).shape == (64,)


def test_photos_that_were_saved_again_are_folded(data_folder: Path, tmp_path: Path) -> None:
    """Real photos, half as large and saved again; none of the others is taken for one of them."""
    photos = sorted((data_folder / "flickr8k/images").glob("*.jpg"))[:40]
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in photos:
        picture = Image.open(path).convert("RGB")
        picture.save(folder / f"{path.stem}.png")
        half = picture.resize((picture.width // 2, picture.height // 2))
        half.save(folder / f"{path.stem}-half.jpg", quality=60)
    with mmsearch.create(tmp_path / "index", model="mini") as index:
        index.add(folder)
        hits = index.search("a photo", target="image", k=80, dedupe=True)
    for hit in hits:
        assert {one.path.stem.removesuffix("-half") for one in (hit.item, *hit.duplicates)} == {
            hit.item.path.stem.removesuffix("-half")
        }
    assert len(hits) <= 42
