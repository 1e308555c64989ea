"""Text, picture and sound find each other with real adapters, as their own vectors say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from media import picture, sound, text
from PIL import Image
from tiny_checkpoints import embed, write_clap, write_open_clip

import mmsearch
from mmsearch import Index, Modality
from mmsearch.encode import Model
from mmsearch.engine.bank import bank_texts
from mmsearch.records import FloatArray, Sound
from mmsearch.search.bridge import across

# Short enough for 16 tokens, so that each file has one vector.
WORDS = {"one.txt": "a red dog", "two.txt": "a low hum", "three.txt": "blue, high"}
FILES = {
    Modality.TEXT: [*WORDS],
    Modality.IMAGE: ["red.png", "green.png", "blue.png"],
    Modality.AUDIO: ["high.wav", "low.wav", "long.wav"],
}
DIRECTIONS = [(asked, target) for asked in Modality for target in Modality]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for name, words in WORDS.items():
        text(folder / name, words)
    for name in FILES[Modality.IMAGE]:
        picture(folder / name, Path(name).stem, side=40)
    sound(folder / "high.wav", "high")
    sound(folder / "low.wav", "low")
    sound(folder / "long.wav", "low", seconds=1.5)
    return folder


@pytest.fixture(scope="module", params=["mini", "pair"])
def index(
    request: pytest.FixtureRequest, media: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Index]:
    """With ``mini``, and with a pair of small checkpoints whose spaces have nothing in common."""
    folder, name = tmp_path_factory.mktemp(request.param), "mini"
    if request.param == "pair":
        visual = write_open_clip(folder / "visual", "siglip")
        name = f"open_clip:local-dir:{visual}+clap:{write_clap(folder / 'acoustic')}"
    with mmsearch.create(folder / "index", model=name) as made:
        assert made.add(media).failures == []
        yield made


def rows(model: Model, space: str, modality: Modality, media: Path) -> FloatArray:
    """What the adapter says of the files of a modality."""
    (encoder,) = (e for e in model.encoders if (e.space.name, e.modality) == (space, modality))
    return embed(encoder, [decoded(media / name, modality) for name in FILES[modality]])


def decoded(path: Path, modality: Modality) -> Any:
    match modality:
        case Modality.TEXT:
            return path.read_text()
        case Modality.IMAGE:
            return Image.open(path).convert("RGB")
        case Modality.AUDIO:
            return Sound(*soundfile.read(path, dtype="float32"))


def spaces_of(model: Model, modality: Modality) -> list[str]:
    return [field.space for field in model.fields(modality)]


def expected(
    model: Model, media: Path, asked: Modality, target: Modality
) -> tuple[list[dict[str, float]], bool]:
    """By file the cosine with each query, in the shared space or by way of texts; and by which."""
    shared = [one for one in spaces_of(model, asked) if one in spaces_of(model, target)]
    if shared:
        every = [
            rows(model, space, asked, media) @ rows(model, space, target, media).T
            for space in shared
        ]
        cosines = np.max(every, axis=0)  # a text in two spaces counts where it is nearer
    else:
        (near,), (far,) = spaces_of(model, asked), spaces_of(model, target)
        queries = rows(model, near, asked, media)
        sides = [texts(model, space, media) for space in (near, far)]
        cosines = np.stack([across(query, *sides) for query in queries])
        cosines = cosines @ rows(model, far, target, media).T
    names = FILES[target]
    return [dict(zip(names, row.tolist(), strict=True)) for row in cosines], not shared


def texts(model: Model, space: str, media: Path) -> FloatArray:
    """The bank's texts and the index's own in a space."""
    (encoder,) = (e for e in model.encoders if e.space.name == space and e.modality == "text")
    bank = np.concatenate([embed(encoder, [one]) for one in bank_texts()])
    return np.concatenate([bank, rows(model, space, Modality.TEXT, media)])


@pytest.mark.parametrize(("asked", "target"), DIRECTIONS)
def test_each_direction_ranks_as_the_adapters_say(
    index: Index, media: Path, asked: Modality, target: Modality
) -> None:
    found, by_texts = expected(index.model, media, asked, target)
    assert by_texts == (len(index.model.spaces) == 2 and {asked, target} == {"image", "audio"})
    for name, cosines in zip(FILES[asked], found, strict=True):
        query = WORDS[name] if asked is Modality.TEXT else media / name
        hits = index.search(**{asked.value: cast(Any, query)}, target=target, k=9)
        said = {hit.item.path.name: hit.signals["cosine"] for hit in hits}
        assert said == pytest.approx(cosines, abs=3e-3)
        assert {hit.approximate for hit in hits} == {by_texts}
        if asked is target and target is not Modality.TEXT:
            assert hits[0].signals["cosine"] == pytest.approx(1, abs=2e-3)
