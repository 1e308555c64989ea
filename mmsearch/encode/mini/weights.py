"""The weights file of mini: token table, vocabulary and towers in one safetensors file."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mmsearch.encode.mini.features import PREPROCESSING
from mmsearch.encode.mini.shapes import Shape, Stage
from mmsearch.errors import ModelError
from mmsearch.records import Space

NAME = "mini-1"
DIM = 256
WEIGHTS = Path(__file__).with_name(f"{NAME}.safetensors")


def read_vocabulary(path: Path = WEIGHTS) -> str:
    """The tokenizer, as the JSON of the ``tokenizers`` library."""
    with _open(path) as file:
        return str(file.metadata()["tokenizer"])


def read_tensors(prefix: str, path: Path = WEIGHTS) -> dict[str, NDArray[Any]]:
    """The arrays whose name starts with the prefix, under the rest of their name."""
    with _open(path) as file:
        chosen = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        return {key.removeprefix(prefix): file.get_tensor(key) for key in chosen}


def read_shape(tower: str, path: Path = WEIGHTS) -> Shape:
    """The shape of a tower: ``image`` or ``audio``."""
    with _open(path) as file:
        shapes = json.loads(file.metadata().get("shapes", "{}"))
    return Shape.read(shapes[tower]) if shapes else FIRST[tower]


FIRST = {
    "image": Shape(3, 64, (Stage(128, 2), Stage(256, 2))),
    "audio": Shape(1, 48, (Stage(96, 2), Stage(192, 2))),
}
"""The towers of mini-1, whose file does not say."""


def write(
    path: Path, tokenizer: str, arrays: dict[str, NDArray[Any]], shapes: dict[str, Shape]
) -> None:
    """Write a weights file through a temporary name."""
    from safetensors.numpy import save_file

    temporary = path.with_suffix(".tmp")
    written = json.dumps({name: shape.settings for name, shape in shapes.items()})
    save_file(arrays, temporary, metadata={"tokenizer": tokenizer, "shapes": written})
    temporary.replace(path)


@cache
def space(path: Path = WEIGHTS) -> Space:
    """The space, identified by the hash of weights and preprocessing; read once a process."""
    try:
        digest = hashlib.sha256(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: the weights of mini cannot be read: {error}") from error
    digest.update(PREPROCESSING.encode())
    return Space(NAME, DIM, normalized=True, checkpoint=NAME, sha256=digest.hexdigest())


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: the weights of mini cannot be read: {error}") from error
