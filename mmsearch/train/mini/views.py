"""The training pictures, squeezed to a square, each with what the image teacher sees in it.

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

VIEW_SIDE = 128
CHUNK = 256


@dataclass(frozen=True)
class Views:
    """Small pictures and what the teacher says of each.

    Attributes:
        picture: (n,) int64, the number of each picture.
        pixels: (n, 128, 128, 3) uint8.
        teacher: (n, 2025) float16.
    """

    picture: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    teacher: NDArray[np.float16]


def describe(first: int, pictures: Sequence[Picture], data: Path, out: Path) -> None:
    """Shrink and describe one chunk of the pictures, and write its file."""
    teacher = ImageTeacher(data / "teachers")
    numbers = range(first, min(first + CHUNK, len(pictures)))
    pixels, seen = [], []
    for number in numbers:
        with Image.open(pictures[number].path) as file:
            picture = file.convert("RGB")
        small = picture.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BICUBIC)
        pixels.append(np.asarray(small, np.uint8))
        seen.append(teacher(picture))
    save_arrays(
        out / f"{first:06d}.npz",
        picture=np.array(numbers, np.int64),
        pixels=np.stack(pixels),
        teacher=np.stack(seen).astype(np.float16),
    )


def make_views(pictures: Sequence[Picture], data: Path, out: Path, workers: int) -> None:
    """Describe every picture that has no file yet."""
    out.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(pictures), CHUNK)
    missing = [first for first in starts if not (out / f"{first:06d}.npz").exists()]
    work = partial(describe, pictures=pictures, data=data, out=out)
    with get_context("spawn").Pool(workers) as pool:
        for done, _ in enumerate(pool.imap(work, missing), 1):
            log.info("views: %d of %d chunks", len(starts) - len(missing) + done, len(starts))


def load_views(out: Path) -> Views:
    """Read every picture that has been described so far."""
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
