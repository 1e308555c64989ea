"""An index's vectors in two dimensions: what is sampled, what its colours mean, what is written."""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import DIM, fake_model
from media import COLOURS, picture, sound, text
from numpy.typing import NDArray
from PIL import Image
from present_cases import HOSTILE_NAMES
from test_cli import Run, cli
from test_present_gallery import Page, payload
from test_two_spaces import two_space_model

import mmsearch
from mmsearch import Chunk, EmbeddedChunk, Embeddings, Item, Modality, Part, UsageError
from mmsearch.errors import MMSearchError
from mmsearch.present.plot.color import MOST_CATEGORIES, Categories, Scale, color_by
from mmsearch.present.plot.page import THUMBNAIL_PX
from mmsearch.present.plot.project import project
from mmsearch.records import ColumnValue, FloatArray
from mmsearch.store.field import Field

__all__ = ["cli"]  # a fixture

ROWS = 8
MATPLOTLIB = pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of pictures with captions, a folder with two sounds."""
    folder = tmp_path_factory.mktemp("media")
    rows = []
    for n in range(ROWS):
        colour = list(COLOURS)[n % 3]
        picture(folder / f"{n}.png", colour, side=80)
        row = {"image": f"{n}.png", "caption": f"a {colour} square", "kind": colour, "year": 2000}
        rows.append(row | ({"year": 2000 + n} if n else {"year": None}))
    text(folder / "list.jsonl", "\n".join(map(json.dumps, rows)))
    sound(folder / "s/high.wav", "high")
    sound(folder / "s/low.wav", "low")
    return folder


@pytest.fixture(scope="module")
def index(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mmsearch.Index]:
    folder = tmp_path_factory.mktemp("plot") / "pictures & sounds"
    with mmsearch.create(folder, model=fake_model()) as made:
        made.add(media / "list.jsonl", text_columns=["caption"])
        made.add(media / "s")
        yield made


def modalities(found: Embeddings) -> Counter[str]:
    return Counter(str(chunk.part.modality) for chunk in found.chunks)


def colours_in(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        image.load()
        found = image.convert("RGB").getcolors(image.width * image.height)
    return {colour for _, colour in found or () if isinstance(colour, tuple)}


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def chunk_of(n: int, **columns: ColumnValue) -> EmbeddedChunk:
    part = Part("text", Modality.TEXT, text=f"words {n}")
    return EmbeddedChunk(Item(f"m/{n}", (part,), columns=columns, id=n), part, Chunk(), part.text)


def test_every_vector_comes_with_what_it_stands_for(index: mmsearch.Index) -> None:
    found = index.embeddings()
    assert (found.space, found.total, found.index) == ("fake", 2 * ROWS + 2, index.path)
    assert found.vectors.shape == (found.total, DIM)
    assert found.vectors.dtype == np.float32
    assert modalities(found) == {"text": ROWS, "image": ROWS, "audio": 2}
    for chunk, vector in zip(found.chunks, found.vectors, strict=True):
        if chunk.part.modality is Modality.TEXT:
            assert chunk.text == chunk.item.parts[1].text
            words = chunk.text or ""
            best = index.search(words, target="text", where=f"kind = '{words[2:-7]}'")
            assert best[0].signals["cosine"] == pytest.approx(vector @ vector, abs=1e-2)


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 17, 18, 19])
def test_a_sample_is_evenly_spread_and_keeps_shares(index: mmsearch.Index, limit: int) -> None:
    found = index.embeddings(limit=limit)
    assert len(found.chunks) == len(found.vectors) == min(limit, found.total)
    assert len({(c.item.id, c.part.role) for c in found.chunks}) == len(found.chunks)
    if limit == 9:
        assert modalities(found) == {"text": 4, "image": 4, "audio": 1}


def test_vectors_are_gathered_only_for_the_sample(
    index: mmsearch.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = []
    original = Field.gather

    def gather(field: Field, rows: NDArray[np.int64]) -> FloatArray:
        gathered.append(len(rows))
        return original(field, rows)

    monkeypatch.setattr(Field, "gather", gather)
    monkeypatch.delattr(Field, "matrix")
    index.embeddings(limit=5)
    assert sum(gathered) == 5


def test_a_filter_keeps_what_satisfies_it(index: mmsearch.Index) -> None:
    found = index.embeddings(where="kind = 'red'")
    assert found.total == 6
    assert {chunk.item.columns["kind"] for chunk in found.chunks} == {"red"}
    with pytest.raises(UsageError, match="no vector's item satisfies"):
        index.embeddings(where="kind = 'pink'")


def test_what_is_removed_is_not_drawn(
    make_index: Callable[..., mmsearch.Index], tmp_path: Path
) -> None:
    index = make_index()
    with pytest.raises(UsageError, match="holds nothing yet"):
        index.embeddings()
    index.add([text(tmp_path / "a.txt", "one"), text(tmp_path / "b.txt", "two")])
    index.remove(tmp_path / "a.txt")
    assert [chunk.text for chunk in index.embeddings().chunks] == ["two"]


def test_of_several_spaces_the_fullest_is_drawn_or_the_one_asked_for(
    media: Path, tmp_path: Path
) -> None:
    with mmsearch.create(tmp_path / "i", model=two_space_model()) as index:
        index.add(media / "list.jsonl", text_columns=["caption"])
        index.add(media / "s")
        assert modalities(index.embeddings()) == {"text": ROWS, "image": ROWS}
        found = index.embeddings(space="acoustic")
        assert (found.space, modalities(found)) == ("acoustic", {"text": ROWS, "audio": 2})
        with pytest.raises(UsageError, match="no space 'x'; there are visual, acoustic"):
            index.embeddings(space="x")


def test_pca_keeps_most_of_the_variance() -> None:
    normal = np.random.default_rng(0).standard_normal((500, 8))
    vectors = (normal * [1, 9, 1, 3, 1, 1, 1, 1] + 5).astype(np.float32)
    found = project(vectors, "pca", 0)
    assert found.variance == pytest.approx((81 / 96, 9 / 96), abs=0.03)
    for axis, column in enumerate((1, 3)):
        correlation = np.corrcoef(found.points[:, axis], vectors[:, column])[0, 1]
        assert correlation == pytest.approx(1, abs=0.01)
    assert not project(vectors[:1], "pca", 0).points.any()


def test_umap_is_called_as_it_needs_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, **options: object) -> None:
            self.options = options

        def fit_transform(self, vectors: FloatArray) -> NDArray[np.float64]:
            assert self.options["random_state"] == 7
            assert self.options["n_neighbors"] == min(15, len(vectors) - 1)
            return vectors[:, :2].astype(np.float64)

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    vectors = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    for count in (20, 4):
        found = project(vectors[:count], "umap", 7)
        assert (found.points.dtype.name, found.variance) == ("float32", None)
        assert found.summary == "UMAP"
    with pytest.raises(UsageError, match="at least 4 vectors"):
        project(vectors[:3], "umap", 7)


@pytest.mark.soak  # compiling itself takes UMAP 20 s
def test_umap_keeps_neighbours_together_and_repeats_itself() -> None:
    pytest.importorskip("umap")
    normal = np.random.default_rng(0).standard_normal
    groups = np.repeat(np.arange(3), 40)
    vectors = (normal((3, 32))[groups] + 0.1 * normal((120, 32))).astype(np.float32)
    first, again = (project(vectors, "umap", 3).points for _ in range(2))
    assert np.array_equal(first, again)
    centres = np.stack([first[groups == g].mean(axis=0) for g in range(3)])
    nearest = np.linalg.norm(first[:, None] - centres, axis=2).argmin(axis=1)
    assert np.array_equal(nearest, groups)


def test_modalities_keep_their_colours_whatever_else_is_there(index: mmsearch.Index) -> None:
    whole = color_by(index.embeddings().chunks, "modality")
    part = color_by(index.embeddings(where="kind IS NULL").chunks, "modality")
    assert isinstance(whole, Categories) and isinstance(part, Categories)
    assert [(e.label, e.count) for e in whole.entries] == [("text", 8), ("image", 8), ("audio", 2)]
    assert part.entries == (whole.entries[2],)


def test_long_values_that_begin_alike_are_not_one() -> None:
    start = "https://example.org/a/very/long/path/"
    found = color_by([chunk_of(n, source=f"{start}{n % 3}") for n in range(6)], "source")
    assert isinstance(found, Categories)
    assert [entry.count for entry in found.entries] == [2, 2, 2]
    assert all(len(entry.label) < len(start) for entry in found.entries)


def test_rare_categories_are_taken_together_and_all_differ() -> None:
    chunks = [chunk_of(n, kind=f"k{n % 20 % (1 + n // 20)}") for n in range(400)]
    chunks += [chunk_of(999)]
    coloring = color_by(chunks, "kind")
    assert isinstance(coloring, Categories)
    *kept, other, missing = coloring.entries
    assert len(kept) == MOST_CATEGORIES - 1
    assert [entry.count for entry in kept] == sorted((e.count for e in kept), reverse=True)
    assert (other.label, missing.label, missing.count) == ("9 others", "no kind", 1)
    assert len({(entry.color, entry.shape) for entry in coloring.entries}) == MOST_CATEGORIES + 1
    assert sum(entry.count for entry in coloring.entries) == len(chunks)
    assert np.array_equal(np.bincount(coloring.of), [entry.count for entry in coloring.entries])


def test_numbers_are_a_scale_and_what_is_no_number_is_missing() -> None:
    values = (1, 2.5, None, float("nan"), float("inf"), 10**400, -4)
    coloring = color_by([chunk_of(n, size=v) for n, v in enumerate(values)], "size")
    assert isinstance(coloring, Scale)
    assert (coloring.low, coloring.high) == (-4, 2.5)
    assert np.isfinite(coloring.shares).tolist() == [True, True, *[False] * 4, True]
    same = color_by([chunk_of(n, size=3) for n in range(3)], "size")
    assert isinstance(same, Scale) and not same.shares.any()


@pytest.mark.parametrize("values", [(1, "a"), (True, False), (("a", 1), ("a",)), (None, None)])
def test_anything_else_is_categories(values: tuple[ColumnValue, ...]) -> None:
    coloring = color_by([chunk_of(n, c=value) for n, value in enumerate(values)], "c")
    assert isinstance(coloring, Categories)
    assert sum(entry.count for entry in coloring.entries) == 2


def test_an_unknown_column_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="'colour': no item has .* columns are kind"):
        color_by([chunk_of(1, kind="x")], "colour")
    with pytest.raises(UsageError, match="they have no columns"):
        color_by([chunk_of(1)], "colour")


@pytest.mark.parametrize("color", ["modality", "kind", "year"])
def test_a_png_is_a_picture_with_the_legends_colours(
    index: mmsearch.Index, tmp_path: Path, color: str
) -> None:
    found = index.embeddings()
    mmsearch.plot(found, tmp_path / "a.png", color=color)
    coloring = color_by(found.chunks, color)
    colours = colours_in(tmp_path / "a.png")
    assert len(colours) > 50
    for entry in coloring.entries if isinstance(coloring, Categories) else ():
        assert tuple(bytes.fromhex(entry.color[1:])) in colours
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_words_of_files_are_no_formulas_in_a_png(tmp_path: Path) -> None:
    names = (*HOSTILE_NAMES, "$\\frac$", "_hidden", "日本語", "%d {x}")
    chunks = tuple(chunk_of(n, **{"$\\bad": name}) for n, name in enumerate(names))
    vectors = np.random.default_rng(0).standard_normal((len(names), 4)).astype(np.float32)
    found = Embeddings(tmp_path / "$\\x$_\n", "$y_", len(names), chunks, vectors)
    mmsearch.plot(found, tmp_path / "a.png", color="$\\bad")
    few = Embeddings(tmp_path, "s", 9, chunks[-4:], vectors[-4:])
    mmsearch.plot(few, tmp_path / "b.png", color="$\\bad")
    assert len(colours_in(tmp_path / "a.png")) > 50


def test_the_page_holds_points_thumbnails_and_columns(
    index: mmsearch.Index, media: Path, tmp_path: Path
) -> None:
    mmsearch.plot(index.embeddings(), tmp_path / "a.html", color="kind")
    html = (tmp_path / "a.html").read_text()
    page, data = Page(html), data_of(html)
    assert "18 vectors of space fake · PCA, " in page.text
    assert page.all("title") and "pictures & sounds" in page.text
    labels = [button for button in page.all("button") if "data-group" in button]
    assert len(labels) == len(data["groups"]) == 4
    assert "no kind" in page.text
    assert len(data["points"]) == 18 and len(data["items"]) == ROWS + 2
    assert len(data["pictures"]) == ROWS
    with Image.open(payload(data["pictures"][0]["uri"])) as image:
        assert (image.format, image.size) == ("JPEG", (THUMBNAIL_PX, THUMBNAIL_PX))
    assert np.abs([point["at"] for point in data["points"]]).max() == pytest.approx(1, abs=1e-4)
    for point in data["points"]:
        if point["modality"] != "audio":
            item, kind = data["items"][point["item"]], point["text"].split()[1]
            assert point["text"] == item["alt"] == f"a {kind} square"
            assert item["columns"][0] == ["kind", kind]
            assert data["pictures"][point["picture"]]["uri"].startswith("data:image/jpeg;")
    sounds = [point for point in data["points"] if point["modality"] == "audio"]
    assert {(media / "s/high.wav").as_uri(), (media / "s/low.wav").as_uri()} == {
        point["link"] for point in sounds
    }
    assert sounds[0]["where"] == "0.0–0.5 s" and sounds[0]["picture"] is None


def test_a_number_column_has_a_ramp_on_the_page(index: mmsearch.Index, tmp_path: Path) -> None:
    mmsearch.plot(index.embeddings(), tmp_path / "a.html", color="year")
    html = (tmp_path / "a.html").read_text()
    data = data_of(html)
    assert "2001" in Page(html).text and "2007" in Page(html).text
    shares = [point["color"] for point in data["points"]]
    assert shares.count(None) == 4 and not data["groups"]
    assert {0, 1} <= {*shares} and all(0 <= share <= 1 for share in shares if share is not None)


def test_only_the_pages_own_script_and_style_are_allowed(
    index: mmsearch.Index, tmp_path: Path
) -> None:
    mmsearch.plot(index.embeddings(limit=1), tmp_path / "a.html")
    page = Page((tmp_path / "a.html").read_text())
    policy = page.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    assert all("src" not in script for script in page.all("script"))


def test_hostile_names_stay_inside_the_data(tmp_path: Path) -> None:
    html = hostile_page(tmp_path)
    html.encode("utf-8")
    page, data = Page(html), data_of(html)
    assert len(page.all("script")) == 2 and not page.all("iframe")
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    assert len(data["points"]) == len(data["items"]) == len(HOSTILE_NAMES)
    assert data["items"][0]["name"] == HOSTILE_NAMES[0]
    assert all(point["link"].startswith("file:///") for point in data["points"])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)


def hostile_page(folder: Path) -> str:
    """A page whose every name, text, column and title is hostile."""
    chunks = []
    for n, name in enumerate(HOSTILE_NAMES):
        path = str(picture(folder / name.replace("/", "∕")))
        part = Part("file", Modality.IMAGE, path)
        caption = Part("text", Modality.TEXT, text=name)
        item = Item(path, (part, caption), name, {"title": name, name: (name, 1)}, n)
        chunks.append(EmbeddedChunk(item, part, Chunk(), None))
    vectors = np.random.default_rng(0).standard_normal((len(chunks), 4)).astype(np.float32)
    found = Embeddings(folder / HOSTILE_NAMES[1], HOSTILE_NAMES[0], 99, tuple(chunks), vectors)
    mmsearch.plot(found, folder / "a.html", color="title")
    return (folder / "a.html").read_text()


@pytest.mark.parametrize(("module", "method"), [("umap", "umap"), ("matplotlib.figure", "pca")])
def test_a_missing_library_says_what_to_install(
    index: mmsearch.Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    method: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MMSearchError, match=r"needs .*: pip install 'mmsearch\[plot\]'") as error:
        mmsearch.plot(index.embeddings(), tmp_path / "a.png", method=method)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


METRICS = "step,figure,value\n" + "".join(
    f"{step},loss,{5 / step**0.5 + step % 7}\n{step},learning_rate,{1 / step}\n"
    + (f"{step},$validation_ hit_at_10,{step / 1000}\n" if step % 50 == 0 else "")
    for step in range(1, 301)
)


def test_the_curves_of_a_training_are_a_png(tmp_path: Path) -> None:
    text(tmp_path / "run/metrics.csv", METRICS)
    mmsearch.plot_training(tmp_path / "run", tmp_path / "a.png")
    assert len(colours_in(tmp_path / "a.png")) > 50


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "does not begin with step,figure,value"),
        ("a,b\n1,2\n", "does not begin with"),
        ("step,figure,value\n", "no figures yet"),
        ("step,figure,value\n1,loss,2.0\n2,loss,many\n", "line 3: not a step"),
        ("step,figure,value\n1,loss\n", "line 2: not a step"),
    ],
)
def test_metrics_that_are_none_are_named(tmp_path: Path, content: str, says: str) -> None:
    text(tmp_path / "metrics.csv", content)
    with pytest.raises(MMSearchError, match=says):
        mmsearch.plot_training(tmp_path, tmp_path / "a.png")


def test_the_command_writes_what_it_says(cli: Run, media: Path, tmp_path: Path) -> None:
    assert cli("index", str(media / "list.jsonl"), str(media / "s"), "--text", "caption")[0] == 0
    code, out, err = cli("plot", "a.html", "--color", "kind", "--limit", "9")
    size = (tmp_path / "a.html").stat().st_size / 1e6
    assert (code, out) == (0, "")
    assert err == f"wrote a.html, {size:,.1f} MB: 9 of 18 vectors of space fake\n"
    text(tmp_path / "run/metrics.csv", METRICS)
    code, out, err = cli("plot", "b.PNG", "--training", "run")
    assert (code, out) == (0, "") and err.startswith("wrote b.PNG, ")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["a.pdf"], 2, "ends in .png or .html"),
        (["none/a.png"], 2, "there is no folder none"),
        (["a.png", "--color", "smell"], 2, "'smell': no item has that column"),
        (["a.png", "--method", "tsne"], 2, "the methods are pca and umap"),
        (["a.png", "--limit", "0"], 2, "limit is 0"),
        (["a.png", "--where", "1 ="], 2, "where"),
        (["a.png", "--space", "x"], 2, "no space 'x'"),
        (["a.png", "--index", "absent"], 1, "there is no index here"),
        (["a.png", "--training", "run"], 2, "there is no such file"),
        (["a.html", "--training", "run"], 2, "ends in .png"),
        (["a.png", "--training", "run", "--limit", "3"], 2, "leave out --limit"),
        ([], 2, "OUT"),
    ],
)
def test_an_error_of_the_command_is_one_line(
    cli: Run,
    index: mmsearch.Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.setenv("MMSEARCH_INDEX", str(index.path))
    got, out, err = cli("plot", *arguments)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert says in err
    assert list(tmp_path.iterdir()) == []
