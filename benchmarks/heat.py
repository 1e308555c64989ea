"""Heat maps: whether they point at the right place, and what is hot on photos that do not fit.

Run: ``python benchmarks/heat.py [--model DIR] [--data DIR]``; prints two tables.

Four photos of Flickr8k's dev split are put into one picture. Asked with a caption of one of them,
or with that photo mirrored, a map should be hottest in its quarter: by chance one in four is.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from machine import describe
from PIL import Image, ImageOps

from mmsearch import Modality, load_model
from mmsearch.encode import Encoder, MappingEncoder, Model
from mmsearch.encode.batching import Batching
from mmsearch.encode.heads import unit
from mmsearch.engine.bank import query_vectors
from mmsearch.engine.embedding import Weighted
from mmsearch.engine.heat import heat_of
from mmsearch.engine.heat_map import COLD, HOT, HeatMap
from mmsearch.records import FloatArray
from mmsearch.train.mini.data import flickr

SIDE = 224
"""Pixels of a photo in a picture of four."""
BANK = 500
_CHUNK = 32


def embed(encoder: Encoder, inputs: Sequence[object]) -> FloatArray:
    """Embed inputs, prepared first: (n, dim) float32 of unit length."""
    return unit(Batching(encoder)([encoder.prepare(one) for one in inputs]))


def mapped(encoder: MappingEncoder, pictures: Sequence[Image.Image]) -> list[FloatArray]:
    """The map of each picture."""
    prepared = [encoder.prepare(one) for one in pictures]
    starts = range(0, len(prepared), _CHUNK)
    return [one for at in starts for one in encoder.maps(prepared[at : at + _CHUNK])]


def together(photos: Sequence[Image.Image]) -> Image.Image:
    """Four photos, squeezed into the quarters of one picture."""
    whole = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    for place, photo in enumerate(photos):
        whole.paste(photo.resize((SIDE, SIDE)), (SIDE * (place % 2), SIDE * (place // 2)))
    return whole


def quarters(heat: FloatArray, encoder: MappingEncoder) -> tuple[int, int]:
    """Which quarter holds the hottest pixel, and which is hotter than the others on average."""
    blank = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    pixels = np.nan_to_num(HeatMap(blank, heat, encoder.seen(blank.size)).pixels(), nan=-np.inf)
    means = np.nanmean(
        np.where(np.isfinite(pixels), pixels, np.nan).reshape(2, SIDE, 2, SIDE), (1, 3)
    )
    row, column = np.unravel_index(int(pixels.argmax()), pixels.shape)
    return 2 * int(row >= SIDE) + int(column >= SIDE), int(means.argmax())


def ways(places: FloatArray, asked: FloatArray, usual: FloatArray) -> Mapping[str, FloatArray]:
    """Maps of one picture, as they could be made."""
    cosines, all_usual = places @ asked, places @ usual.T
    above = cosines - np.median(all_usual, axis=2)
    return {
        "cosines": cosines,
        "above each place's median, in its own deviations": above / all_usual.std(axis=2),
        "above each place's median, in the picture's deviations": heat_of(
            places, [(Weighted(asked, 1.0), usual)]
        ),
    }


def pointing(
    encoder: MappingEncoder,
    places: Sequence[FloatArray],
    photos: FloatArray,
    asked: FloatArray,
    usual: FloatArray,
) -> dict[str, tuple[float, float]]:
    """How often each way points at the right quarter: its hottest pixel, and its mean.

    Args:
        encoder: Of the pictures.
        places: Maps of n pictures, of four photos each.
        photos: (4 n, dim), embedded alone.
        asked: (4 n, dim), a query for each photo.
        usual: What is usually asked.
    """
    found: dict[str, list[tuple[bool, bool]]] = {}
    for number, query in enumerate(asked):
        picture, right = divmod(number, 4)
        for name, heat in ways(places[picture], query, usual).items():
            hottest, warmest = quarters(heat, encoder)
            found.setdefault(name, []).append((hottest == right, warmest == right))
        apart = int((photos[4 * picture : 4 * picture + 4] @ query).argmax()) == right
        found.setdefault("the four photos, each embedded alone", []).append((apart, apart))
    return {name: tuple(np.mean(rows, axis=0).tolist()) for name, rows in found.items()}


def told(title: str, found: Mapping[str, tuple[float, float]]) -> None:
    """Print the shares of each way."""
    print(f"\n| {title} | hottest place | hottest quarter |\n|---|---|---|")
    for name, (hottest, warmest) in found.items():
        print(f"| {name} | {hottest:.3f} | {warmest:.3f} |")


def heats(places: Sequence[FloatArray], captions: FloatArray, usual: FloatArray) -> None:
    """Print what is hot on photos that a caption is about, and on others."""
    print("\n| a caption of | places above 1.5 / 3 / 5 | hottest place: 5 % / median / 95 % |")
    print("|---|---|---|")
    for name, shift in (("the photo", 0), ("another photo", 7)):
        asked = np.roll(captions, shift, axis=0)
        rows = [
            heat_of(one, [(Weighted(query, 1.0), usual)])
            for one, query in zip(places, asked, strict=True)
        ]
        every = np.concatenate([row.ravel() for row in rows])
        shares = " / ".join(f"{(every > limit).mean():.1%}" for limit in (COLD, 3, HOT))
        tops = np.quantile([row.max() for row in rows], (0.05, 0.5, 0.95))
        print(f"| {name} | {shares} | {' / '.join(f'{top:.1f}' for top in tops)} |")


def text_and_picture(model: Model) -> tuple[Encoder, MappingEncoder]:
    """The encoders of the model's first space with pictures."""
    name = model.fields(Modality.IMAGE)[0]
    picture = model.encoder(name)
    assert isinstance(picture, MappingEncoder)
    texts = (one for one in model.encoders if one.modality is Modality.TEXT)
    return next(one for one in texts if one.space == picture.space), picture


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    text, picture = text_and_picture(model)
    rows = flickr(arguments.data, "dev")
    order = np.random.default_rng(0).permutation(len(rows))
    photos = [Image.open(rows[n].path).convert("RGB") for n in order]
    captions = embed(text, [rows[n].texts[0] for n in order])
    vectors = embed(picture, photos)
    four = mapped(picture, [together(photos[n : n + 4]) for n in range(0, len(photos), 4)])
    usual = unit(query_vectors(text, BANK))
    told("asked with a caption", pointing(picture, four, vectors, captions, usual))
    mirrored = embed(picture, [ImageOps.mirror(photo) for photo in photos])
    told("asked with a photo", pointing(picture, four, vectors, mirrored, vectors))
    heats(mapped(picture, photos), captions, usual)
    digests = ", ".join(f"{space.name} {space.sha256[:12]}" for space in model.spaces)
    print(f"\n{describe()}; {digests}")


if __name__ == "__main__":
    main()
