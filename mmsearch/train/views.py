"""Crops of the training pictures, each with what the image teacher sees in exactly that crop.

Written in numbered files, so that a killed run continues where it stopped.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.train.data import Picture
from mmsearch.train.files import save_arrays
from mmsearch.train.teachers import ImageTeacher

log = logging.getLogger(__name__)

CROP_SIDE = 128
CHUNK = 256
VIEWS = {"flickr8k": 4, "photos": 3, "caltech101": 1, "flowers": 2, "scenes64": 1}
"""Crops of each picture of a collection; the first is always the whole picture."""


@dataclass(frozen=True)
class Views:
    """Crops and what the teacher says of each.

    Attributes:
        picture: (n,) int64, the picture that each crop is from.
        pixels: (n, 128, 128, 3) uint8.
        teacher: (n, 2025) float16.
    """

    picture: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    teacher: NDArray[np.float16]


def plan(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    """Every (picture, view) to describe: whole pictures first, so that a short run is useful."""
    rounds = range(max(VIEWS.values()))
    return [
        (number, view)
        for view in rounds
        for number, picture in enumerate(pictures)
        if view < VIEWS[picture.kind]
    ]


def crop_box(
    size: tuple[int, int], view: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Where to crop: the whole picture for view 0, else 35 to 100 % of its area."""
    width, height = size
    if view == 0:
        return 0.0, 0.0, float(width), float(height)
    area, aspect = rng.uniform(0.35, 1.0), np.exp(rng.uniform(-0.3, 0.3))
    share_x, share_y = min(1.0, np.sqrt(area * aspect)), min(1.0, np.sqrt(area / aspect))
    left = rng.uniform(0, 1 - share_x) * width
    top = rng.uniform(0, 1 - share_y) * height
    return left, top, left + share_x * width, top + share_y * height


def describe(
    numbers: tuple[int, ...], pictures: Sequence[Picture], data: Path, out: Path, seed: int
) -> None:
    """Crop and describe one chunk of the plan, and write its file."""
    teacher = ImageTeacher(data / "teachers")
    todo = plan(pictures)
    crops, seen, owners = [], [], []
    for number in numbers:
        owner, view = todo[number]
        rng = np.random.default_rng([seed, owner, view])
        with Image.open(pictures[owner].path) as file:
            picture = file.convert("RGB")
        box = crop_box(picture.size, view, rng)
        large = picture.resize((224, 224), Image.Resampling.BICUBIC, box=box)
        crops.append(picture.resize((CROP_SIDE, CROP_SIDE), Image.Resampling.BICUBIC, box=box))
        seen.append(teacher(large))
        owners.append(owner)
    save_arrays(
        out / f"{numbers[0]:06d}.npz",
        picture=np.array(owners, np.int64),
        pixels=np.stack([np.asarray(crop, np.uint8) for crop in crops]),
        teacher=np.stack(seen).astype(np.float16),
    )


def make_views(
    pictures: Sequence[Picture], data: Path, out: Path, seed: int, workers: int = 2
) -> None:
    """Describe every crop of the plan that has no file yet."""
    out.mkdir(parents=True, exist_ok=True)
    total = len(plan(pictures))
    chunks = [tuple(range(at, min(at + CHUNK, total))) for at in range(0, total, CHUNK)]
    missing = [chunk for chunk in chunks if not (out / f"{chunk[0]:06d}.npz").exists()]
    work = partial(describe, pictures=pictures, data=data, out=out, seed=seed)
    with get_context("spawn").Pool(workers) as pool:
        for done, _ in enumerate(pool.imap(work, missing), 1):
            log.info("views: %d of %d chunks", len(chunks) - len(missing) + done, len(chunks))


def load_views(out: Path) -> Views:
    """Read every crop that has been described so far."""
    parts: list[dict[str, NDArray[Any]]] = list(_read(out))
    return Views(
        picture=np.concatenate([part["picture"] for part in parts]),
        pixels=np.concatenate([part["pixels"] for part in parts]),
        teacher=np.concatenate([part["teacher"] for part in parts]),
    )


def _read(out: Path) -> Iterator[dict[str, NDArray[Any]]]:
    for path in sorted(out.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            yield dict(file)
