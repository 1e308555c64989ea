"""A cross-encoder over the first hits, against transformers, on a small random checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from PIL import Image
from test_cli import Run
from test_cli import cli as cli  # a fixture
from tiny_checkpoints import hub_cache, write_blip, write_clap

import mmsearch
from mmsearch import Hit, Index, Item, Modality, Model, Part, Query
from mmsearch.encode import itm
from mmsearch.encode.compute import Compute
from mmsearch.encode.itm import Matcher
from mmsearch.encode.transformers_ import load_network
from mmsearch.errors import ModelError, UsageError
from mmsearch.records import FloatArray

IMAGE, TEXT = Modality.IMAGE, Modality.TEXT
COUNT = 30


class Shades(FakeEncoder):
    """Each shade of red points somewhere else."""

    def prepare(self, decoded: Any) -> list[str]:
        if isinstance(decoded, Image.Image):
            return [f"shade{np.asarray(decoded)[0, 0, 0]}"]
        return super().prepare(decoded)


def shades() -> Model:
    return Model("shades", tuple(Shades(m) for m in Modality))


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("itm") / "blip")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(COUNT):
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        pixels[0, 0, 0] = number
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(COUNT)]


@pytest.fixture
def index(tmp_path: Path, photos: list[Path]) -> Iterator[Index]:
    """Photos, and texts that have no picture."""
    with mmsearch.create(tmp_path / "index", model=shades()) as index:
        items = [Item(str(path), (Part("photo", IMAGE, path=str(path)),)) for path in photos]
        items += [Item(f"t{n}", (Part("text", TEXT, text=f"word{n}"),)) for n in range(COUNT)]
        index.add(items)
        yield index


def library(folder: Path, paths: Sequence[Path], texts: Sequence[str]) -> FloatArray:
    """The log-odds of pairs as the model's documentation computes them."""
    import torch
    from transformers import BlipForImageTextRetrieval, BlipProcessor

    network: Any = BlipForImageTextRetrieval.from_pretrained(folder)
    processor: Any = BlipProcessor.from_pretrained(folder)
    rows = []
    for path, text in zip(paths, texts, strict=True):
        picture = Image.open(path)
        inputs = processor(images=picture, text=text, truncation=True, return_tensors="pt")
        with torch.no_grad():
            logits = network(**inputs).itm_score[0]
        rows.append(float(logits[1] - logits[0]))
    return np.array(rows, np.float32)


def paths(hits: Sequence[Hit]) -> list[str]:
    return [hit.item.source for hit in hits]


def test_log_odds_are_those_of_the_library(blip: Path, photos: list[Path]) -> None:
    matcher = Matcher(str(blip), Compute("cpu"))
    pictures = [matcher.processor().picture(Image.open(path)) for path in photos[:5]]
    texts = ["a dog", "rain", "a dog on the grass, far away and at night", "x", "yes"]
    expected = library(blip, photos[:5], texts)
    assert expected.std() > 0.1
    np.testing.assert_allclose(matcher.log_odds(pictures, texts), expected, atol=1e-4)
    one_text = library(blip, photos[:5], ["a dog"] * 5)
    np.testing.assert_allclose(matcher.log_odds(pictures, ["a dog"]), one_text, atol=1e-4)
    one_picture = library(blip, [photos[0]] * 5, texts)
    np.testing.assert_allclose(matcher.log_odds(pictures[:1], texts), one_picture, atol=1e-4)


def test_the_first_pictures_change_places(blip: Path, index: Index) -> None:
    rerank = f"itm:{blip}"
    before = index.search("dog", target="image", k=COUNT)
    hits = index.search("dog", target="image", k=COUNT, rerank=rerank)
    log_odds = library(blip, [hit.item.path for hit in before[:20]], ["dog"] * 20)
    order = np.argsort(-(log_odds + np.array([hit.score for hit in before[:20]])))
    assert paths(hits) == [*(paths(before)[n] for n in order), *paths(before)[20:]]
    assert paths(hits[:20]) != paths(before[:20])
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in before], abs=1e-5)
    assert [hit.signals["itm"] for hit in hits[:20]] == pytest.approx([*log_odds[order]], abs=1e-4)
    assert not any("itm" in {**hit.signals, **hit.shares} for hit in hits[20:])
    for hit, old in zip(hits, index.search("dog", target="image", k=COUNT), strict=True):
        assert sum(hit.shares.values()) == pytest.approx(hit.score, abs=1e-5)
        assert (hit.relevance == old.relevance) == (hit.item.id == old.item.id)
    moved = next(hit for hit in hits if "itm" in hit.shares)
    assert " itm " in moved.explain()[0]
    expected = f"the cross-encoder has log-odds of {moved.signals['itm']:.3f} for a match"
    assert expected in moved.explain()
    assert index.search("dog", target="image", k=3, rerank=rerank) == hits[:3]


def test_a_batch_is_answered_as_its_queries_are(
    blip: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    monkeypatch.setattr(itm, "load_network", partial(_counted, loads))
    asked = ["dog", "a cat", "word3"]
    rerank = f"itm:{blip}"
    many = index.search_many(asked, target="image", rerank=rerank)
    assert many == [index.search(text, target="image", rerank=rerank) for text in asked]
    assert len({tuple(paths(hits)) for hits in many}) == 3
    assert len(loads) == 1


def _counted(loads: list[object], *arguments: Any) -> object:
    loads.append(arguments)
    return load_network(*arguments)


def test_a_picture_asks_for_texts(blip: Path, index: Index, photos: list[Path]) -> None:
    hits = index.search(image=photos[3], target="text", k=COUNT, rerank=f"itm:{blip}")
    texts = [hit.text or "" for hit in hits[:20]]
    expected = library(blip, [photos[3]] * 20, texts)
    assert [hit.signals["itm"] for hit in hits[:20]] == pytest.approx([*expected], abs=1e-4)
    assert hits != index.search(image=photos[3], target="text", k=COUNT)
    picture = Image.open(photos[3]).convert("RGB")
    assert hits == index.search(image=picture, target="text", k=COUNT, rerank=f"itm:{blip}")


def test_what_cannot_be_looked_at_keeps_its_place(
    blip: Path, tmp_path: Path, photos: list[Path]
) -> None:
    rerank = f"itm:{blip}"
    copies = [tmp_path / path.name for path in photos[:12]]
    for path, copy in zip(photos, copies, strict=False):
        copy.write_bytes(path.read_bytes())
    with mmsearch.create(tmp_path / "index", model=shades()) as index:
        index.add(copies)
        before = index.search("dog", k=12)
        gone = before[4].item.path
        gone.unlink()
        hits = index.search("dog", k=12, rerank=rerank)
        assert hits[4] == before[4]
        assert paths(hits) != paths(before)
        assert all(("itm" in hit.signals) == (hit.item.path != gone) for hit in hits)
        index.add([Item(f"t{n}", (Part("text", TEXT, text=f"dog {n}"),)) for n in range(4)])
        before, hits = (index.search("dog", k=16, rerank=name) for name in ("convex", rerank))
        texts = [n for n, hit in enumerate(before) if hit.part.modality is TEXT]
        assert len(texts) == 4
        assert [hits[n] for n in texts] == [before[n] for n in texts]


def test_a_captioned_picture_is_looked_at_whichever_part_is_found(
    blip: Path, tmp_path: Path, photos: list[Path]
) -> None:
    with mmsearch.create(tmp_path / "index", model=shades()) as index:
        parts = (Part("photo", IMAGE, path=str(photos[0])), Part("caption", TEXT, text="dog"))
        index.add([Item("captioned", parts)])
        (hit,) = index.search("dog", rerank=f"itm:{blip}")
        assert hit.part.role == "caption"
        assert hit.signals["itm"] == pytest.approx(library(blip, photos[:1], ["dog"])[0], abs=1e-4)


def test_other_queries_are_scored_as_ever(blip: Path, index: Index, photos: list[Path]) -> None:
    vectors = index.model.encoders[0].encode([["dog"]])
    sound = mmsearch.Sound(np.sin(np.arange(8000, dtype=np.float32)), 8000)
    for query in (
        Query("dog", image=photos[0]),
        Query("dog", exclude="cat"),
        Query(audio=sound),
        Query(vectors={"fake": vectors[0]}),
    ):
        (plain,), (asked,) = (
            index.search_many([query], rerank=r) for r in ("convex", f"itm:{blip}")
        )
        assert asked == plain


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "itm:absent: give a folder, or OWNER/NAME on the Hugging Face hub"),
        ("{empty}", "is no BLIP image-text matching checkpoint: it has no config.json"),
        ("{clap}", "is no BLIP checkpoint: its model_type is 'clap'"),
        ("{captioning}", "are not of a BLIP image-text matching model: .* missing, first itm_head"),
        ("some/blip", "some/blip is not in the local cache and cannot be downloaded .*itm:FOLDER"),
    ],
)
def test_what_is_no_such_checkpoint_is_refused(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    hub_cache(monkeypatch, tmp_path / "cache", {})
    write: dict[str, Callable[[Path], object]] = {
        "clap": write_clap,
        "captioning": partial(write_blip, make="BlipForConditionalGeneration"),
        "empty": Path.mkdir,
    }
    folder = tmp_path / name.strip("{}")
    if name.startswith("{"):
        write[folder.name](folder)
        name = str(folder)
    with pytest.raises(ModelError, match=reason) as caught:
        index.search("dog", rerank=f"itm:{name}")
    assert "\n" not in str(caught.value)
    assert index.search("dog")


def test_a_scorer_that_is_none_names_the_form(index: Index) -> None:
    with pytest.raises(UsageError, match="attention, itm:CHECKPOINT"):
        index.search("dog", rerank="itm")


def test_the_command_line_takes_a_checkpoint(cli: Run, blip: Path, photos: list[Path]) -> None:
    assert cli("index", str(photos[0].parent))[0] == 0
    code, out, err = cli("query", "dog", "--rerank", f"itm:{blip}", "--explain")
    assert (code, err) == (0, "")
    assert "the cross-encoder has log-odds of " in out
    code, out, err = cli("query", "dog", "--rerank", "itm:absent")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and "itm:absent: give a folder" in err
    code, out, err = cli("query", "dog", "--rerank", "magic")
    assert code == 2 and "choose one of convex, rrf, none, mlp, attention, itm:CHECKPOINT" in err
