"""What the torch adapters share: a thread-safe lazy value, unit rows, the hash, errors."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mmsearch.encode.hashes import file_sha256
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

CHARS_PER_TOKEN = 4
"""English averages four characters a token; where a text has fewer, ``fits`` says so."""
MOST_CHARS_PER_TOKEN = 8
"""Hardly any text has more, so that one that fits a context is not cut."""


class Lazy(Generic[T]):
    """A value made on first use, once, whichever thread comes first; a failure is not kept.

    ``functools.cached_property`` takes no lock since Python 3.12, so two threads would load the
    same weights twice.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[T] | None = None
        self._lock = Lock()

    def __call__(self) -> T:
        """Return the value, making it if need be."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = (self._make(),)
        return self._made[0]


def unit_rows(features: "torch.Tensor") -> FloatArray:
    """Bring (..., dim) features to unit length, and to the CPU as float32."""
    import torch

    rows: FloatArray = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return rows


def one_line(error: BaseException) -> str:
    """What an error of a library says, in one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def load_error(source: Path, error: BaseException) -> ModelError:
    """Say in one line that weights cannot be loaded, and what to do."""
    return ModelError(
        f"cannot load {source}: {one_line(error)} (if it is incomplete, copy or download it again)"
    )


def identity_sha256(weights: Path, settings: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a weights file and of all else that decides the vectors, as canonical JSON."""
    found = json.dumps([file_sha256(weights), settings], sort_keys=True)
    return hashlib.sha256(found.encode()).hexdigest()


def vocabulary_sha256(vocabulary: Mapping[str, int]) -> str:
    """Hex SHA-256 of a tokenizer's entries, which unlike its files no library version rewrites."""
    lines = sorted(f"{number} {token!r}" for token, number in vocabulary.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
