"""Local features of frozen encoders (patches, tokens), made once and kept in numbered files."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode import LocalEncoder
from mmsearch.records import FieldName, FloatArray, Part
from mmsearch.train.features import digest, prepared
from mmsearch.train.files import mapped, save_array

CHUNK = 256


@dataclass(frozen=True)
class Places:
    """Local features of the parts of one modality, in memory maps.

    Attributes:
        files: For each 256 parts (all their places, width) float16.
        ends: (parts + 1,) int64: where each part's places start and end.
    """

    files: Sequence[str]
    ends: NDArray[np.int64]

    @property
    def width(self) -> int:
        """Of a place."""
        widths: list[int] = [mapped(file).shape[1] for file in self.files]
        return max(widths)

    def __getitem__(self, part: int) -> FloatArray:
        """The places of one part: (places, width) float32."""
        file = part // CHUNK
        start, end = self.ends[[part, part + 1]] - self.ends[file * CHUNK]
        return np.asarray(mapped(self.files[file])[start:end], np.float32)


def embed_places(
    parts: Sequence[Part],
    name: FieldName,
    encoder: LocalEncoder,
    folder: Path,
    tell: Callable[[str], None],
) -> Places:
    """Describe the places of parts, or read what an earlier run has written.

    Only a part's first stretch counts; one that cannot be decoded has no places.
    """
    home = folder / f"{name}-places-{digest(parts, encoder.space.sha256)}"
    files, lengths = [], [np.zeros(1, np.int64)]
    for at in range(0, len(parts), CHUNK):
        path = home / f"{at:08d}.rows.npy"
        if not path.exists():
            found = _describe(parts[at : at + CHUNK], name, encoder)
            save_array(home / f"{at:08d}.lengths.npy", np.array([len(one) for one in found]))
            known = [one for one in found if len(one)] or [np.zeros((0, 0), np.float32)]
            save_array(path, np.concatenate(known).astype(np.float16))
            tell(f"{name}: {min(at + CHUNK, len(parts)):,} of {len(parts):,} described")
        files.append(str(path))
        lengths.append(np.load(home / f"{at:08d}.lengths.npy", allow_pickle=False))
    return Places(files, np.cumsum(np.concatenate(lengths)))


def _describe(parts: Sequence[Part], name: FieldName, encoder: LocalEncoder) -> list[FloatArray]:
    """For each part (places, width) float32."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        first = list(pool.map(lambda part: prepared(part, name, encoder)[:1], parts))
    known = [number for number, values in enumerate(first) if values]
    found: dict[int, FloatArray] = {}
    for at in range(0, len(known), encoder.batch_size):
        numbers = known[at : at + encoder.batch_size]
        places = encoder.places([first[number][0] for number in numbers])
        found |= dict(zip(numbers, places, strict=True))
    return [found.get(number, np.zeros((0, 0), np.float32)) for number in range(len(parts))]
