"""Heat maps: what is hot lies where it is in the picture, and nothing is hot where nothing fits."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, fake_model, word_vector
from media import COLOURS, sound
from PIL import Image, ImageDraw
from test_two_spaces import two_space_model
from test_video import film

import mmsearch
from mmsearch import HeatMap, Index, Item, Modality, Part, Query
from mmsearch.cli.app import run
from mmsearch.encode import Model
from mmsearch.encode.seeing import WHOLE, Box
from mmsearch.engine.embedding import Weighted
from mmsearch.engine.heat import heat_of
from mmsearch.engine.heat_map import COLD, HOT, LARGEST_PX
from mmsearch.errors import DecodeError, MMSearchError, ModelError, UsageError
from mmsearch.records import FloatArray

Answer = tuple[int, str, str]


class Quarters(FakeEncoder):
    """Sees a colour in each quarter of a picture."""

    def __init__(self) -> None:
        super().__init__(Modality.IMAGE)

    def prepare(self, decoded: Any) -> list[str]:
        small = np.asarray(decoded.resize((2, 2), Image.Resampling.BOX)).reshape(4, 3)
        names, colours = list(COLOURS), np.array(list(COLOURS.values()))
        return [names[np.abs(colours - pixel).sum(axis=1).argmin()] for pixel in small]

    def maps(self, prepared: Sequence[list[str]]) -> list[FloatArray]:
        return [
            np.stack([word_vector(w) for w in names]).reshape(2, 2, -1).astype(np.float32)
            for names in prepared
        ]

    def seen(self, size: tuple[int, int]) -> Box:
        return WHOLE


@pytest.fixture
def quarters(tmp_path: Path) -> Iterator[Index]:
    model = Model("fake", (FakeEncoder(Modality.TEXT), Quarters(), FakeEncoder(Modality.AUDIO)))
    with mmsearch.create(tmp_path / "quarters", model=model) as made:
        yield made


def coloured(path: Path, names: Sequence[str], orientation: int = 1) -> Path:
    """A picture of 60 x 40 whose quarters have colours, row by row."""
    pixels = np.array([COLOURS[name] for name in names], np.uint8).reshape(2, 2, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(pixels).resize((60, 40), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif)
    return path


def only(found: Sequence[HeatMap | None]) -> HeatMap:
    (heat,) = found
    assert heat is not None
    return heat


def test_what_is_asked_for_is_hot_where_it_is(quarters: Index, tmp_path: Path) -> None:
    quarters.add(coloured(tmp_path / "a.png", ["blue", "green", "green", "red"]))
    hits = quarters.search("red", target="image")
    heat = only(quarters.heat_maps(hits, "red"))
    assert heat.heat.shape == (2, 2) and heat.heat.dtype == np.float32
    assert heat.heat[1, 1] > HOT
    assert np.abs(heat.heat.ravel()[:3]).max() < 3
    assert heat.picture.size == (60, 40)
    pixels = heat.pixels()
    assert pixels.shape == (40, 60)
    assert pixels[35, 55] == heat.heat[1, 1] and pixels[5, 5] == heat.heat[0, 0]
    assert only(quarters.heat_maps(hits, "a zebra")).heat.max() < HOT


def test_a_turned_picture_is_hot_where_it_is_upright(quarters: Index, tmp_path: Path) -> None:
    quarters.add(coloured(tmp_path / "a.jpg", ["red", "green", "green", "green"], orientation=6))
    heat = only(quarters.heat_maps(quarters.search("red", target="image"), "red"))
    assert heat.picture.size == (40, 60)
    assert heat.heat.argmax() == 1
    assert heat.picture.getpixel((35, 5)) == pytest.approx((254, 0, 0), abs=3)


def test_any_query_has_a_map(quarters: Index, tmp_path: Path) -> None:
    names = ["red", "blue", "green", "green"]
    quarters.add([coloured(tmp_path / f"in/{n}.png", names) for n in range(2)])
    blue = coloured(tmp_path / "blue.png", ["blue"] * 4)
    hits = quarters.search("red", target="image", k=1)

    def hottest(query: Query) -> int:
        return int(only(quarters.heat_maps(hits, query)).heat.argmax())

    assert hottest(Query(image=blue)) == 1
    assert hottest(Query("red", templates=("a {} thing", "{}"))) == 0
    assert hottest(Query("red blue", exclude={"blue": 1.0})) == 0
    assert hottest(Query("red", image=blue, weights={"image": 9})) == 1
    assert hottest(Query("red", image=blue, weights={"text": 9})) == 0
    assert hottest(Query(audio=sound(tmp_path / "high.wav", "high"))) in range(4)


def test_the_frame_that_matched_is_shown(quarters: Index, tmp_path: Path, settled: None) -> None:
    quarters.add(film(tmp_path / "a.mp4", [("red", 4), ("blue", 4)], [("high", 8)]))
    hits = quarters.search("blue", target="image", k=1)
    red, green, blue = only(quarters.heat_maps(hits, "blue")).picture.getpixel((40, 20))  # type: ignore[misc]
    assert blue > 200 > 50 > max(red, green)
    heard = quarters.search("high", target="audio", k=1)
    assert quarters.heat_maps(heard, "high") == [None]


def test_an_item_that_words_have_found_shows_its_picture(quarters: Index, tmp_path: Path) -> None:
    photo = Part("photo", Modality.IMAGE, path=str(coloured(tmp_path / "a.png", ["red"] * 4)))
    caption = Part("caption", Modality.TEXT, text="an old barn")
    quarters.add([Item("1", (caption, photo)), Item("2", (caption,))])
    hits = quarters.search("an old barn", target="text")
    found = quarters.heat_maps(hits, "red")
    shown = {hit.item.source: heat for hit, heat in zip(hits, found, strict=True)}
    assert shown["2"] is None
    assert shown["1"] is not None and shown["1"].heat.min() > HOT


def test_a_picture_that_is_gone_is_named_and_the_others_go_on(
    quarters: Index, tmp_path: Path
) -> None:
    quarters.add(
        [coloured(tmp_path / f"{n}.png", ["red"] * 3 + [c]) for n, c in enumerate(COLOURS)]
    )
    hits = quarters.search("red", target="image")
    hits[1].item.path.unlink()
    failures: dict[int, str] = {}
    found = quarters.heat_maps(hits, "red", failed=lambda n, e: failures.update({n: str(e)}))
    assert [heat is None for heat in found] == [False, True, False]
    assert list(failures) == [1] and hits[1].item.name in failures[1]
    with pytest.raises(DecodeError, match=hits[1].item.name):
        quarters.heat_maps(hits, "red")


def test_a_video_that_has_become_another_is_named(
    quarters: Index, tmp_path: Path, settled: None
) -> None:
    path = film(tmp_path / "a.mp4", [("red", 4), ("blue", 4)])
    quarters.add(path)
    hits = quarters.search("blue", target="image", k=1)
    film(path, [("green", 2)])
    with pytest.raises(DecodeError, match=r"a\.mp4: it has changed since it was indexed"):
        quarters.heat_maps(hits, "blue")


def test_what_has_no_map_is_refused(
    quarters: Index, tmp_path: Path, make_index: Callable[..., Index]
) -> None:
    path = coloured(tmp_path / "a.png", ["red"] * 4)
    quarters.add(path)
    hits = quarters.search("red", target="image")
    vector = word_vector("red")
    with pytest.raises(UsageError, match="not a vector"):
        quarters.heat_maps(hits, Query(vectors={"fake": vector}))
    plain = make_index()
    plain.add([path, sound(tmp_path / "high.wav")])
    with pytest.raises(ModelError, match="tests gives no heat maps"):
        plain.heat_maps(plain.search("red", target="image"), "red")
    assert plain.heat_maps(plain.search("high", target="audio"), "high") == [None]
    assert plain.heat_maps([], "red") == []


def test_a_query_of_another_space_has_no_map(tmp_path: Path) -> None:
    path = sound(tmp_path / "in/high.wav")
    coloured(tmp_path / "in/a.png", ["red"] * 4)
    with mmsearch.create(tmp_path / "index", model=two_space_model()) as index:
        index.add(tmp_path / "in")
        hits = index.search("red", target="image")
        with pytest.raises(UsageError, match="shares no space with pictures"):
            index.heat_maps(hits, Query(audio=path))


def heat(values: Sequence[Sequence[float]], box: Box, size: tuple[int, int] = (80, 40)) -> HeatMap:
    return HeatMap(Image.new("RGB", size, "white"), np.array(values, np.float32), box)


def test_only_what_the_encoder_sees_is_covered() -> None:
    crop = heat([[9, 0], [0, 0]], Box(0.25, 0, 0.75, 1))
    pixels = crop.pixels()
    assert np.isnan(pixels[:, :20]).all() and np.isnan(pixels[:, 60:]).all()
    assert not np.isnan(pixels[:, 20:60]).any()
    assert pixels[9, 29] == pytest.approx(9, abs=0.6)  # the middle of the first place
    assert pixels[9, 50] == pixels[30, 30] == 0
    painted = np.asarray(crop.painted())
    assert painted[5, 5].max() < 100 < painted[30, 50].min()  # dark where nothing is seen
    red, green, blue = painted[5, 25].astype(int)
    assert red > green > blue + 100
    margin = heat([[9, 0], [0, 0]], Box(0, -0.5, 1, 1.5))
    assert not np.isnan(margin.pixels()).any()
    assert margin.pixels()[0, 0] == pytest.approx(9, abs=0.2)  # the middle of the first place


def test_cold_is_grey_and_hot_is_yellow() -> None:
    shades = np.asarray(heat([[-3, 0.9 * COLD, HOT, 3 * HOT]], WHOLE).painted())
    assert (shades[:, :10] == 255).all()
    assert (shades[20, 30] == 255).all()
    assert (shades[20, 50] == shades[20, 75]).all()
    assert shades[20, 75][2] < 120 < 200 < shades[20, 75][1]


def test_places_are_compared_with_what_is_usually_asked() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    places = rows[:400].reshape(20, 20, 16)
    found = heat_of(places, [(Weighted(rows[500], 1.0), rows[1000:])])
    assert found.mean() == pytest.approx(0, abs=0.1)
    assert found.std() == pytest.approx(1, abs=0.1)
    two = [(Weighted(rows[n], 1.0), rows[1000:]) for n in (500, 501)]
    assert heat_of(places, two).std() == pytest.approx(1, abs=0.1)
    (single,) = heat_of(rows[None, :1], [(Weighted(rows[0], 1.0), rows[1000:])])
    assert single[0] == pytest.approx(4, abs=0.2)  # 1 / standard deviation of a component
    # What all queries have in common heats nothing.
    shifted = rows + 3 * rows[0]
    usual, asked = shifted[1000:], shifted[500]
    near = heat_of(np.tile(rows[0], (1, 1, 1)), [(Weighted(asked, 1.0), usual)])
    assert abs(near[0, 0]) < 2
    # An index of a few pictures says little of what is usual, and does not fail.
    few = heat_of(places, [(Weighted(rows[0], 1.0), np.zeros((0, 0), np.float32))])
    assert few[0, 0] == pytest.approx(10)


def test_a_map_is_saved_as_its_name_says(tmp_path: Path) -> None:
    found = heat([[0, 5]], WHOLE)
    found.save(tmp_path / "a.jpg")
    found.save(tmp_path / "a.PNG")
    with Image.open(tmp_path / "a.jpg") as jpeg, Image.open(tmp_path / "a.PNG") as png:
        assert (jpeg.format, png.format, png.size) == ("JPEG", "PNG", (80, 40))
        assert (np.asarray(png) == np.asarray(found.painted())).all()
    with pytest.raises(UsageError, match=r"a\.gif: a heat map ends in \.jpg, \.jpeg, \.png"):
        found.save(tmp_path / "a.gif")
    with pytest.raises(MMSearchError, match="cannot write"):
        found.save(tmp_path / "gone/a.png")


@pytest.fixture
def cli(
    quarters: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> Callable[..., Answer]:
    monkeypatch.setattr("mmsearch.engine.opened.load_model", lambda *a, **k: quarters.model)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Answer:
        code = run(["query", *arguments, "--index", str(quarters.path)])
        return code, *capfd.readouterr()

    return call


def test_the_command_saves_maps_and_shows_them(
    quarters: Index, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    long = "x" * 250 + ".png"
    quarters.add([coloured(tmp_path / f"in/{name}", ["red"] * 4) for name in ("a.png", long)])
    quarters.add(coloured(tmp_path / "in/gone.png", ["red", "red", "red", "blue"]))
    (tmp_path / "in/gone.png").unlink()
    code, _, err = cli("red", "--target", "image", "--heat", "maps/red", "--html", "plain.html")
    assert code == 0
    assert "in/gone.png: " in err and "wrote 2 heat maps to maps/red" in err
    saved = sorted(path.name for path in (tmp_path / "maps/red").iterdir())
    assert len(saved) == 2 and "-a.jpg" in "".join(saved)
    assert "Heat map" not in (tmp_path / "plain.html").read_text()
    code, _, err = cli("red", "--target", "image", "--explain", "--html", "a.html")
    assert code == 0 and "in/gone.png: " in err
    page = (tmp_path / "a.html").read_text()
    assert page.count('alt="Heat map: ') == 2
    assert cli("--batch", "in", "--heat", "maps")[0] == 2
    (tmp_path / "file").touch()
    code, _, err = cli("red", "--target", "image", "--heat", "file/maps")
    assert code == 1 and "cannot write file/maps" in err


def test_a_page_is_written_where_the_model_has_no_maps(
    quarters: Index, tmp_path: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    quarters.add(coloured(tmp_path / "a.png", ["red"] * 4))
    monkeypatch.setattr("mmsearch.engine.opened.load_model", lambda *a, **k: fake_model())
    code, _, err = cli("red", "--explain", "--html", "a.html")
    assert code == 0 and "gives no heat maps" in err and (tmp_path / "a.html").exists()
    code, _, err = cli("red", "--heat", "maps")
    assert code == 1 and "gives no heat maps" in err and not (tmp_path / "maps").exists()


def test_explaining_without_a_page_loads_no_torch(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    with mmsearch.create(tmp_path / "index", model="mini") as index:
        index.add(tmp_path / "red.png")
    script = (
        "import sys; from mmsearch.cli.app import run\n"
        f"code = run(['query', 'red', '--explain', '--index', {str(tmp_path / 'index')!r}])\n"
        "print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.split() == ["0", "False"]


def shapes(path: Path, *, swapped: bool) -> Path:
    """A red square and a blue circle on white, side by side."""
    picture = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(picture)
    square, circle = (240, 40) if swapped else (40, 240)
    draw.rectangle((square, 120, square + 120, 240), fill="red")
    draw.ellipse((circle, 120, circle + 120, 240), fill="blue")
    picture.save(path)
    return path


def test_the_embedded_model_finds_drawn_things_where_they_are(tmp_path: Path) -> None:
    with mmsearch.create(tmp_path / "index", model="mini") as index:
        for swapped in (False, True):
            index.add(shapes(tmp_path / f"{swapped}.png", swapped=swapped))
            (hit,) = (h for h in index.search("a square") if h.item.name == f"{swapped}.png")
            red, blue = (
                only(index.heat_maps([hit], text)) for text in ("a red square", "a blue circle")
            )
            for found, is_left in ((red, not swapped), (blue, swapped)):
                sides = found.pixels()[:, :200].mean(), found.pixels()[:, 200:].mean()
                assert (sides[0] > sides[1]) == is_left
                assert (found.pixels().argmax() % 400 < 200) == is_left
                assert found.heat.max() > 2


def test_the_embedded_model_points_at_the_photo_that_a_caption_is_about(
    data_folder: Path, tmp_path: Path
) -> None:
    """Of four photos in one picture: by chance it would be 0.25."""
    lines = (data_folder / "flickr8k/captions.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "dev"][:160]
    for number in range(0, len(rows), 4):
        whole = Image.new("RGB", (288, 288))
        for place, row in enumerate(rows[number : number + 4]):
            with Image.open(data_folder / "flickr8k" / row["image"]) as photo:
                whole.paste(photo.resize((144, 144)), (144 * (place % 2), 144 * (place // 2)))
        (tmp_path / "in").mkdir(exist_ok=True)
        whole.save(tmp_path / f"in/{number}.png")
    rng, right = np.random.default_rng(0), []
    with mmsearch.create(tmp_path / "index", model="mini") as index:
        index.add(tmp_path / "in")
        for hit in index.search("a photo", target="image", k=len(rows)):
            asked = int(rng.integers(4))
            caption = rows[int(hit.item.path.stem) + asked]["captions"][0]
            pixels = only(index.heat_maps([hit], caption)).pixels()
            means = pixels.reshape(2, 144, 2, 144).mean(axis=(1, 3))
            right.append(int(means.argmax()) == asked)
    assert len(right) == 40
    assert np.mean(right) > 0.4


def test_pictures_of_cameras_are_made_small(quarters: Index, tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "large.png")
    quarters.add(tmp_path / "large.png")
    found = only(quarters.heat_maps(quarters.search("red", target="image"), "red"))
    assert found.picture.size == (LARGEST_PX, LARGEST_PX // 2)
