"""A weights file: networks, token table and vocabulary in one safetensors file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encode.torch_ import Lazy
from mmsearch.encode.towers.features import preprocessing
from mmsearch.encode.towers.shapes import Design
from mmsearch.errors import ModelError
from mmsearch.records import Space
from mmsearch.whole import written_whole

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SETTINGS = "mmsearch"
"""The one entry of a file's metadata: of several, safetensors would write any first."""

COUNTER = "num_batches_tracked"
"""What batch normalisation counts, which a trained network has no use for: it is not kept."""

UNKNOWN = 0
"""The token that stands for a piece outside the vocabulary, and for an empty text."""


class Weights:
    """A weights file of which nothing is read before it is needed, and all of it once.

    Args:
        path: The file.
        checkpoint: What to call it.
    """

    def __init__(self, path: Path, checkpoint: str) -> None:
        self.path, self._checkpoint = path, checkpoint
        self._version = Lazy(self._stat)
        self.design = Lazy(self._read_design)
        self.space = Lazy(self._identify)
        self._tokenizer = Lazy(self._load_tokenizer)

    def tokens(self, text: str) -> NDArray[np.int64]:
        """Token ids of a text, at least one: (n,) int64."""
        ids = self._tokenizer().encode(text, add_special_tokens=False).ids
        return np.array(ids or [UNKNOWN], np.int64)

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose name starts with the prefix, under the rest of their name."""
        with self._open() as file:
            chosen = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
            return {key.removeprefix(prefix): file.get_tensor(key) for key in chosen}

    def _identify(self) -> Space:
        """The space, by the hash of weights and preprocessing."""
        self._check()
        digest = hashlib.sha256(self.path.read_bytes())
        design = self.design()
        digest.update(preprocessing(design.side, design.sound).encode())
        return Space(design.name, design.dim, True, self._checkpoint, digest.hexdigest())

    def _read_design(self) -> Design:
        try:
            return Design.read(self._settings()["design"])
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{self.path}: not the weights of towers: {error!r}") from error

    def _load_tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self._settings()["tokenizer"])

    def _settings(self) -> Mapping[str, str]:
        """What ``write`` has written."""
        with self._open() as file:
            found: dict[str, str] = json.loads((file.metadata() or {})[SETTINGS])
        return found

    def _open(self) -> Any:
        from safetensors import SafetensorError, safe_open

        self._check()
        try:
            return safe_open(self.path, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise self._unreadable(error) from error

    def _check(self) -> None:
        """Refuse a file that has been replaced since it was first read: its space is another."""
        if self._version() != self._stat():
            raise ModelError(f"{self.path}: other weights are there now; start again")

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _unreadable(self, error: Exception) -> ModelError:
        return ModelError(f"{self.path}: the weights cannot be read: {error}")


def write(path: Path, design: Design, tokenizer: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a weights file.

    Args:
        path: Where.
        design: What it holds.
        tokenizer: The vocabulary, as the JSON of the ``tokenizers`` library; empty without texts.
        arrays: Under names that start with their modality.
    """
    from safetensors.numpy import save_file

    settings = json.dumps({"design": design.write(), "tokenizer": tokenizer})
    with written_whole(path) as temporary:
        save_file(dict(arrays), temporary, metadata={SETTINGS: settings})
