"""Views of the training pictures, each with what the image teacher sees in it.

Every picture is seen whole and in random crops. Written in numbered files, so that a killed run
continues where it stopped; read through memory maps, so that they need not fit in memory.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mmsearch.records import FloatArray
from mmsearch.train.files import save_array, save_arrays
from mmsearch.train.mini.data import Picture
from mmsearch.train.mini.teachers import ImageTeacher

log = logging.getLogger(__name__)

SIDE = 128
CHANNELS = 256
PER_PICTURE = 4
CHUNK = 128
SURVEY = 800
"""Pictures from which the axes of the teacher's features are found."""


@dataclass(frozen=True)
class Axes:
    """The directions that keep most of what the image teacher says of places in pictures.

    Attributes:
        mean: (2304,) float32.
        scale: (2304,) float32, the standard deviation of each channel.
        axes: (2304, 256) float32, orthonormal columns, the widest first.
    """

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray

    def __call__(self, maps: FloatArray) -> NDArray[np.float16]:
        """Reduce feature maps: (..., 2304) to (..., 256) float16."""
        # torch's product: NumPy's OpenBLAS may pick a kernel a tenth as fast on virtual machines
        flat = torch.from_numpy(((maps - self.mean) / self.scale).reshape(-1, len(self.mean)))
        reduced = flat @ torch.from_numpy(self.axes)
        return reduced.numpy().reshape(*maps.shape[:-1], -1).astype(np.float16)


def survey(pictures: Sequence[Picture], data: Path, path: Path) -> Axes:
    """Find the axes from evenly spaced pictures, or read them where they have been found."""
    if not path.exists():
        teacher = ImageTeacher(data / "teachers")
        chosen = np.linspace(0, len(pictures) - 1, SURVEY).astype(int)
        maps = np.stack([teacher(read(pictures[at].path)) for at in chosen])
        flat = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
        mean, scale = flat.mean(axis=0), flat.std(axis=0) + 0.01
        scaled = (flat - mean) / scale
        _, vectors = np.linalg.eigh(scaled.T @ scaled)
        axes = vectors[:, ::-1][:, :CHANNELS]
        arrays = {"mean": mean, "scale": scale, "axes": axes}
        save_arrays(path, **{name: array.astype(np.float32) for name, array in arrays.items()})
    with np.load(path, allow_pickle=False) as file:
        return Axes(**file)


def read(path: Path) -> Image.Image:
    """A picture file as RGB."""
    with Image.open(path) as file:
        return file.convert("RGB")


def crop(
    size: tuple[int, int], least: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A random box that holds a share of a picture (Szegedy et al. 2014, arXiv 1409.4842).

    Args:
        size: Of the picture.
        least: The smallest share.
        rng: Of the choice.

    Returns:
        Left, top, right and bottom, in pixels.
    """
    share, aspect = rng.uniform(least, 1.0), np.exp(rng.uniform(-0.288, 0.288))
    wide = size[0] * min(1.0, np.sqrt(share * aspect))
    high = size[1] * min(1.0, np.sqrt(share / aspect))
    left, top = rng.uniform(0, size[0] - wide), rng.uniform(0, size[1] - high)
    return left, top, left + wide, top + high


def look(source: Picture, rng: np.random.Generator) -> list[Image.Image]:
    """The views of one picture, squares of 224 px: first the whole, squeezed, then crops."""
    picture = read(source.path)
    wide, high = picture.size
    boxes: list[tuple[float, float, float, float]] = [(0, 0, wide, high)]
    boxes += [crop(picture.size, source.least, rng) for _ in range(PER_PICTURE - 1)]
    side = (224, 224)
    return [picture.resize(side, Image.Resampling.BICUBIC, box=box) for box in boxes]


def describe(
    chunk: tuple[str, Sequence[Picture]], data: Path, axes: Axes, out: Path, seed: int
) -> None:
    """View and describe one chunk of the pictures, and write its files."""
    torch.set_num_threads(1)
    name, pictures = chunk
    teacher = ImageTeacher(data / "teachers")
    rng = np.random.default_rng([seed, *name.encode()])
    views = [view for picture in pictures for view in look(picture, rng)]
    small = [view.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for view in views]
    save_array(out / f"{name}.pixels.npy", np.stack([np.asarray(v, np.uint8) for v in small]))
    save_array(out / f"{name}.maps.npy", np.stack([axes(teacher(view)) for view in views]))


def chunks(pictures: Sequence[Picture]) -> list[tuple[str, Sequence[Picture]]]:
    """The pictures in named groups of one collection each."""
    found: list[tuple[str, Sequence[Picture]]] = []
    for kind in dict.fromkeys(picture.kind for picture in pictures):
        members = [picture for picture in pictures if picture.kind == kind]
        for at in range(0, len(members), CHUNK):
            found.append((f"{kind}-{at:05d}", members[at : at + CHUNK]))
    return found


def make_views(
    pictures: Sequence[Picture], data: Path, axes: Axes, out: Path, seed: int, workers: int
) -> "Views":
    """Describe every picture that has no file yet, and open all views."""
    out.mkdir(parents=True, exist_ok=True)
    every = chunks(pictures)
    missing = [chunk for chunk in every if not (out / f"{chunk[0]}.maps.npy").exists()]
    work = partial(describe, data=data, axes=axes, out=out, seed=seed)
    with get_context("spawn").Pool(workers) as pool:
        for done, _ in enumerate(pool.imap(work, missing), 1):
            log.info("views: %d of %d chunks", len(every) - len(missing) + done, len(every))
    return Views(out, [name for name, _ in every], [p for _, group in every for p in group])


@dataclass(frozen=True)
class Views:
    """Small pictures and what the teacher says of each, ``PER_PICTURE`` views for each picture.

    Attributes:
        folder: Where the files lie.
        names: Of the chunks, in order.
        pictures: In the order of the views.
    """

    folder: Path
    names: Sequence[str]
    pictures: Sequence[Picture]

    def __len__(self) -> int:
        """Number of views."""
        return len(self.pictures) * PER_PICTURE

    @property
    def owners(self) -> NDArray[np.int64]:
        """(views,) int64, the number of the picture that each view is of."""
        return np.repeat(np.arange(len(self.pictures)), PER_PICTURE)

    def pixels(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some views: (n, 128, 128, 3) uint8."""
        return self._gather("pixels", numbers)

    def maps(self, numbers: NDArray[np.int64]) -> NDArray[np.float16]:
        """What the teacher says of some views: (n, 7, 7, 256) float16."""
        return self._gather("maps", numbers)

    def means(self) -> Tensor:
        """What the teacher says of all views as wholes: (views, 256) float32."""
        means = [maps.mean(axis=(1, 2), dtype=np.float32) for maps in self._files["maps"]]
        return torch.from_numpy(np.concatenate(means))

    def _gather(self, kind: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        arrays, starts = self._files[kind], self._starts
        where = np.searchsorted(starts, numbers, side="right") - 1
        rows = numbers - starts[where]
        return np.stack([arrays[file][row] for file, row in zip(where, rows, strict=True)])

    @cached_property
    def _files(self) -> dict[str, list[NDArray[Any]]]:
        return {
            kind: [
                np.load(self.folder / f"{name}.{kind}.npy", mmap_mode="r", allow_pickle=False)
                for name in self.names
            ]
            for kind in ("pixels", "maps")
        }

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The first view of each file."""
        return np.cumsum([0] + [len(array) for array in self._files["pixels"][:-1]])
