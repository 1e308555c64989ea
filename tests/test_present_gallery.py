"""The gallery stands alone, shows what was found, and takes names and texts as data."""

import base64
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from present_cases import HOSTILE_NAMES, hit_of, picture, row_hit, tone

from mmsearch.errors import MMSearchError
from mmsearch.present.gallery import Search, gallery_html, write_gallery
from mmsearch.present.previews import LONGEST_S, THUMBNAIL_PX, Sight, picture_preview, sound_preview
from mmsearch.records import Chunk, ColumnValue, Hit, Modality

TAGS = set(
    """
    html head meta title style body header h1 nav ol li a main section div h2 p q img svg rect audio
    dl dt dd article h3 span bdi details summary blockquote footer input label
    """.split()
)


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(hits: Sequence[Hit], **query: object) -> Page:
    return Page(gallery_html([Search(query, hits)], "Title"))


def payload(uri: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))


def hostile_page(folder: Path) -> str:
    """A page whose every name, title, text, column and reason is hostile."""
    hits = []
    for rank, name in enumerate(HOSTILE_NAMES, 1):
        columns: dict[str, ColumnValue] = {"title": name, name: (name, 1.5), "licence": name}
        path = picture(folder / name.replace("/", "∕"))
        hits.append(hit_of(path, Modality.IMAGE, rank=rank, columns=columns))
        hits.append(hit_of(f"/gone/{name}", Modality.AUDIO, rank=rank))
        hits.append(hit_of(f"/m/{name}", Modality.TEXT, rank=rank, text=f"{name}\nand more"))
        hits.append(row_hit(folder, name))
    query = {"text": HOSTILE_NAMES[0], "image": f"/gone/{HOSTILE_NAMES[1]}", "where": "a < 'b'"}
    heat = {rank: Image.new("RGB", (64, 32)) for rank in range(2, len(HOSTILE_NAMES))}
    return gallery_html([Search(query, hits, HOSTILE_NAMES[4], heat)] * 2, HOSTILE_NAMES[4])


def test_a_hostile_page_has_only_our_elements_and_addresses(tmp_path: Path) -> None:
    html = hostile_page(tmp_path)
    html.encode("utf-8")
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= TAGS
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#search-").startswith(("#search-", "file:///"))
    assert "<script>document.title = 'owned'</script>.png" in page.text
    assert "{{ 7 * 7 }}{% raw %}.png" in page.text
    assert "caf\\udce9-\\udcff.png" in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)


def test_nothing_is_allowed_but_our_style_and_data(tmp_path: Path) -> None:
    policy = page_of([row_hit(tmp_path)]).all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("; img-src data:; media-src data:; base-uri 'none'; form-action 'none'")
    assert "unsafe" not in policy


def test_everything_to_see_or_hear_has_words(tmp_path: Path) -> None:
    page = Page(hostile_page(tmp_path))
    assert all(image["alt"] for image in page.all("img"))
    assert all(audio["aria-label"] and "controls" in audio for audio in page.all("audio"))
    assert all(article["aria-label"] for article in page.all("article"))
    assert page.all("html")[0]["lang"] == "en"


def test_a_row_shows_its_picture_and_the_part_that_matched(tmp_path: Path) -> None:
    page = page_of([row_hit(tmp_path)])
    assert page.all("img")[0]["alt"] == "A red square"
    assert not page.all("audio")
    for words in ("Row seven", "text: caption", "chars 0–12", "score 0.500", "red, square"):
        assert words in page.text


def test_the_query_is_at_the_top_with_its_picture_and_sound(tmp_path: Path) -> None:
    image, audio = picture(tmp_path / "a.png"), tone(tmp_path / "b.wav")
    page = page_of([], text="in winter", image=image, audio=audio, target=(Modality.IMAGE,))
    assert page.all("img")[0]["alt"] == "The picture that was searched with: a.png"
    assert page.all("audio")[0]["aria-label"] == "The sound that was searched with: b.wav"
    assert "in winter" in page.text and "Nothing was found." in page.text
    assert re.search(r"target\s*image", page.text)


def test_a_heat_map_can_be_taken_off_its_picture(tmp_path: Path) -> None:
    hits = [hit_of(picture(tmp_path / f"{n}.png"), Modality.IMAGE, rank=n) for n in (1, 2)]
    searches = [Search({}, hits, heat={2: Image.new("RGB", (640, 320), "blue")})] * 2
    page = Page(gallery_html(searches, "Title"))
    boxes = page.all("input")
    assert [(box["type"], box["id"]) for box in boxes] == [
        ("checkbox", "heat-1-2"),
        ("checkbox", "heat-2-2"),
    ]
    assert [label["for"] for label in page.all("label")] == ["heat-1-2", "heat-2-2"]
    assert [image["alt"] for image in page.all("img")] == ["1.png", "Heat map: 2.png", "2.png"] * 2
    with Image.open(payload(page.all("img")[1]["src"])) as image:
        assert image.size == (THUMBNAIL_PX, THUMBNAIL_PX // 2)
    assert "Heat maps: coloured is what fits" in page.text
    assert "Heat map" not in page_of(hits).text


def test_several_searches_are_linked_from_the_top() -> None:
    searches = [Search({"text": "one"}, heading="text → image"), Search({}, heading="B")]
    page = Page(gallery_html(searches, "Title"))
    assert [link["href"] for link in page.all("a")] == ["#search-1", "#search-2"]
    assert [section["id"] for section in page.all("section")] == ["search-1", "search-2"]


def test_relevance_is_shown_once_there_is_one() -> None:
    assert "93% relevant" in page_of([hit_of("/m/a", Modality.TEXT, text="t", relevance=0.93)]).text


def test_a_thumbnail_is_small_and_upright(tmp_path: Path) -> None:
    # 6: the camera was turned, so the stored rows are columns.
    preview = picture_preview(Sight(str(picture(tmp_path / "a.jpg", (640, 320), orientation=6))))
    assert (preview.width, preview.height) == (THUMBNAIL_PX // 2, THUMBNAIL_PX)
    with Image.open(payload(preview.uri)) as image:
        assert image.format == "JPEG"
        assert image.size == (preview.width, preview.height)


@pytest.mark.parametrize("content", [None, b"", b"not a picture, not a sound"])
def test_a_file_that_is_gone_or_broken_gives_its_reason(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.dat"
    if content is not None:
        path.write_bytes(content)
    for preview in (picture_preview(Sight(str(path))), sound_preview(str(path), Chunk(0, 1))):
        assert not preview.uri
        assert "a.dat" in preview.reason
    page = page_of([hit_of(path, Modality.IMAGE), hit_of(path, Modality.AUDIO)])
    assert not page.all("img") and not page.all("audio")
    assert page.text.count(str(path)) >= 4


@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(16_000, 1), (44_100, 2), (22_050, 1), (96_000, 2), (7_000, 1)]
)
def test_a_player_holds_the_hits_own_seconds(rate_hz: int, channels: int, tmp_path: Path) -> None:
    path = tone(tmp_path / "a.wav", 4, rate_hz, channels)
    preview = sound_preview(str(path), Chunk(2.0, 4.0))
    assert preview.uri.startswith("data:audio/mpeg;base64,")
    samples, rate = soundfile.read(payload(preview.uri))
    assert samples.ndim == 1
    assert len(samples) / rate == pytest.approx(2.0, abs=0.06)
    half = len(samples) // 2
    loud = [
        float(np.abs(samples[part]).max()) for part in (slice(0, half - 2_000), slice(half, None))
    ]
    assert loud == pytest.approx([0.3, 0.4], abs=0.04)
    assert max(preview.bars) == 100 and min(preview.bars) >= 4


def test_a_window_at_the_end_of_a_sound_is_as_long_as_the_sound(tmp_path: Path) -> None:
    path = str(tone(tmp_path / "a.flac", 3))
    samples, rate = soundfile.read(payload(sound_preview(path, Chunk(2.5, 12.5)).uri))
    assert len(samples) / rate == pytest.approx(0.5, abs=0.06)
    assert "shorter" in sound_preview(path, Chunk(3.0, 13.0)).reason


def test_a_long_query_sound_is_cut(tmp_path: Path) -> None:
    path = str(tone(tmp_path / "a.wav", LONGEST_S + 2, 8_000))
    samples, rate = soundfile.read(payload(sound_preview(path, Chunk()).uri))
    assert len(samples) / rate == pytest.approx(LONGEST_S, abs=0.2)


def test_one_sample_and_samples_that_are_no_numbers_still_play(tmp_path: Path) -> None:
    for name, samples in (("one", [0.5]), ("nan", [np.nan, np.inf, 0.1] * 400)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.array(samples), 8_000, subtype="FLOAT")
        assert sound_preview(str(path), Chunk(0, 1)).uri


def test_without_an_mp3_encoder_the_player_gets_wav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "WAV"})
    preview = sound_preview(str(tone(tmp_path / "a.wav")), Chunk(0, 1))
    assert preview.uri.startswith("data:audio/wav;base64,")


def test_the_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gallery.html"
    path.write_text("old")
    write_gallery(path, [Search({"text": "a"})], "Title")
    assert path.read_text().startswith("<!doctype html>")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(MMSearchError, match=r"cannot write .*gallery\.html: No space left"):
        write_gallery(path, [], "Other")
    assert "<title>Title</title>" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MMSearchError, match="cannot write .*: No such file or directory"):
        write_gallery(tmp_path / "none" / "a.html", [], "Title")
