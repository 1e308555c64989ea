"""Pictures and sounds decoded once, to what training cuts its views from, in numbered files."""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from mmsearch.config import InputLimits
from mmsearch.decode import decode_part
from mmsearch.encode.towers.features import MAX_SECONDS, MELS, pixels, spectrogram
from mmsearch.errors import DecodeError, MMSearchError
from mmsearch.records import Failure, FloatArray, Modality, Part, Sound
from mmsearch.train.features import digest
from mmsearch.train.files import mapped, save_array

CHUNK = 1024
"""Parts of a file: 50 MB of pictures, at most 400 MB of sounds."""

WINDOWS = 3
"""Stretches of 10 s that are kept of a sound."""

GRID = 8
"""Rows and columns of a picture's mark; moments of a sound's."""

BANDS = 32
"""Of a sound's mark."""


@dataclass(frozen=True)
class Recipe:
    """What is kept of a part.

    Attributes:
        name: What the files depend on.
        row: Shape of a row; a picture has one, a sound one for each frame.
        dtype: Of the rows.
        read: From a part to its rows.
        mark: From a part's rows to (d,) float32, alike for what looks or sounds alike.
        tolerance: Root mean square of the differences of two marks up to which their parts are
            taken for copies of each other.
    """

    name: str
    row: tuple[int, ...]
    dtype: type[np.generic]
    read: Callable[[Part], NDArray[Any]]
    mark: Callable[[NDArray[Any]], FloatArray]
    tolerance: float


def recipe(modality: Modality, side: int) -> Recipe:
    """What is kept of pictures, a little larger than the towers' square, or of sounds.

    Recordings of ESC-10 differ from each other by 0.18 and more, and by at most 0.04 from what MP3
    and Ogg make of them; what is cut or brought to another rate differs by more.
    """
    if modality is Modality.AUDIO:
        name = f"log-mel {WINDOWS * MAX_SECONDS} s"
        return Recipe(name, (MELS,), np.float16, _frames, _sound_mark, 0.05)
    large = enlarged(side)
    name, row = f"pixels {large}", (large, large, 3)
    return Recipe(name, row, np.uint8, lambda part: _pixels(part, large), _picture_mark, 2.0)


def enlarged(side: int) -> int:
    """The side of the squares that crops are cut from: an eighth more, and divisible by 8."""
    return GRID * round(side / 7)


class Prepared:
    """The decoded parts of one modality, in files that are mapped into memory.

    Args:
        folder: Of the files.
        count: Of the parts.
    """

    def __init__(self, folder: Path, count: int) -> None:
        names = [folder / f"{at:08d}" for at in range(0, count, CHUNK)]
        self._rows = [f"{name}.rows.npy" for name in names]
        self._ends = [np.load(f"{name}.ends.npy") for name in names]
        self._marks = [np.load(f"{name}.marks.npy") for name in names]

    def __getitem__(self, number: int | np.integer[Any]) -> NDArray[Any]:
        """The rows of a part; none if it could not be decoded."""
        file, at = divmod(int(number), CHUNK)
        ends = self._ends[file]
        return np.asarray(mapped(self._rows[file])[ends[at] : ends[at + 1]])

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(parts,) bool: which were decoded."""
        return np.concatenate([np.diff(ends) > 0 for ends in self._ends])

    @property
    def marks(self) -> FloatArray:
        """(parts, d) float32."""
        return np.concatenate(self._marks)


def prepare(
    parts: Sequence[Part], how: Recipe, folder: Path, tell: Callable[[str], None]
) -> Prepared:
    """Decode parts, or open what an earlier run has decoded.

    Args:
        parts: All of one modality.
        how: What is kept of them.
        folder: Where the files are kept; those of other parts are removed.
        tell: Called with a line for each file that is written.
    """
    kind = how.name.replace(" ", "-")
    home = folder / f"{kind}-{digest(parts, how.name)}"
    for old in folder.glob(f"{kind}-*"):
        if old != home:
            shutil.rmtree(old)
    for at in range(0, len(parts), CHUNK):
        if not (home / f"{at:08d}.ends.npy").exists():
            _write(home / f"{at:08d}", parts[at : at + CHUNK], how)
            tell(f"{how.name}: {min(at + CHUNK, len(parts)):,} of {len(parts):,} decoded")
    return Prepared(home, len(parts))


def _write(path: Path, parts: Sequence[Part], how: Recipe) -> None:
    """One file of rows, one of marks, and last, which makes them count, one of ends."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda part: _rows(part, how), parts))
    empty = np.zeros((1, *how.row), how.dtype)  # an empty file could not be mapped
    width = how.mark(empty).shape
    marks = [how.mark(rows) if len(rows) else np.zeros(width, np.float32) for rows in found]
    save_array(path.with_suffix(".rows.npy"), np.concatenate([*found, empty]))
    save_array(path.with_suffix(".marks.npy"), np.stack(marks))
    save_array(path.with_suffix(".ends.npy"), np.cumsum([0] + [len(rows) for rows in found]))


def _rows(part: Part, how: Recipe) -> NDArray[Any]:
    try:
        return how.read(part)
    except MMSearchError:
        return np.zeros((0, *how.row), how.dtype)


def failure(part: Part, how: Recipe) -> Failure:
    """Why a part has no rows."""
    try:
        how.read(part)
    except MMSearchError as error:
        return Failure(str(part.path), str(error))
    return Failure(str(part.path), "could not be decoded before; remove the folder to try again")


def _pixels(part: Part, side: int) -> NDArray[np.uint8]:
    for _, picture in decode_part(part, InputLimits(image_side=2 * side), lambda text: True):
        assert isinstance(picture, Image)
        return pixels(picture, side)[None]
    raise DecodeError(f"{part.path}: holds no picture")


def _frames(part: Part) -> NDArray[np.float16]:
    """The first half minute: (frames, 64) float16."""
    limits = InputLimits(window_s=float(MAX_SECONDS), hop_s=float(MAX_SECONDS))
    found = []
    for _, sound in decode_part(part, limits, lambda text: True):
        assert isinstance(sound, Sound)
        found.append(spectrogram(sound).T)
        if len(found) == WINDOWS:
            break
    return np.concatenate(found)


def _picture_mark(rows: NDArray[Any]) -> FloatArray:
    """The mean colours of 8 x 8 places: (192,) float32, 0 to 255."""
    cell = rows.shape[1] // GRID
    cells = rows[0].reshape(GRID, cell, GRID, cell, 3)
    return np.asarray(cells.mean(axis=(1, 3)).ravel(), np.float32)


def _sound_mark(rows: NDArray[Any]) -> FloatArray:
    """The mean log-mels of 32 bands in 8 moments: (256,) float32."""
    ends = np.linspace(0, len(rows), GRID + 1).astype(int)
    moments = [rows[at : max(end, at + 1)] for at, end in zip(ends[:-1], ends[1:], strict=True)]
    means = np.stack([moment.mean(axis=0, dtype=np.float32) for moment in moments])
    return np.asarray(means.reshape(GRID, BANDS, -1).mean(axis=2).ravel(), np.float32)
