"""Real vectors: crops of photographs as `mini` embeds them, with captions and other crops to ask.

Run: ``python benchmarks/crops.py FOLDER [--crops N] [--data DIR] [--model DIR]``; writes
``base.npy``, ``text.npy`` and ``image.npy``, which ``ann.py --folder FOLDER`` and ``lists.py``
read. Captions and the crops that ask are of Flickr8k's dev split, whose photos are in the base.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch import Modality, load_model
from mmsearch.encode.base import Encoder
from mmsearch.records import FloatArray
from mmsearch.train.mini.data import Picture, flickr, pictures
from mmsearch.train.mini.views import crop, read

SEED = 0
QUERIES = 1_000
LEAST = 0.2
"""The smallest share of a photo that a crop holds."""
AT_ONCE = 64


def views(number: int, photos: Sequence[Picture], count: int, seed: int) -> list[Image.Image]:
    """A photo as a whole, and random crops of it."""
    picture, rng = read(photos[number].path), np.random.default_rng([seed, number])
    boxes = [crop(picture.size, LEAST, rng) for _ in range(count - 1)]
    return [picture, *(picture.crop(box) for box in boxes)]


def embedded(
    encoder: Encoder, photos: Sequence[Picture], count: int, seed: int
) -> Iterator[FloatArray]:
    """Yield the embeddings of the views of some photos at a time."""

    def prepared(number: int) -> list[object]:
        return [encoder.prepare(view) for view in views(number, photos, count, seed)]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(photos), AT_ONCE):
            some = range(start, min(start + AT_ONCE, len(photos)))
            yield encoder.encode([view for found in pool.map(prepared, some) for view in found])


def main() -> None:
    """Embed and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crops", type=int, default=15, help="vectors of each photo")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="mini")
    arguments = parser.parse_args()
    model, folder = load_model(arguments.model), arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    seen, read_ = (model.encoder(model.fields(m)[0]) for m in (Modality.IMAGE, Modality.TEXT))
    embed = partial(embedded, seen)
    base = embed(pictures(arguments.data, dev=True), arguments.crops, SEED)
    np.save(folder / "base.npy", np.concatenate([part.astype(np.float16) for part in base]))
    dev = flickr(arguments.data, "dev")[:QUERIES]
    others = np.concatenate([*embed(dev, 2, SEED + 1)])[1::2]
    np.save(folder / "image.npy", others)
    captions = [read_.prepare(photo.texts[0]) for photo in dev]
    np.save(folder / "text.npy", read_.encode(captions))


if __name__ == "__main__":
    main()
