"""Models that were trained into a folder: ``model.json`` beside the weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmsearch.encode import aligned, towers
from mmsearch.encode.base import Model
from mmsearch.encode.compute import Compute
from mmsearch.errors import ModelError
from mmsearch.whole import written_whole

SETTINGS = "model.json"
FORMAT = 1


def is_trained(name: str) -> bool:
    """Whether a model's name is a folder that training has written."""
    return (Path(name).expanduser() / SETTINGS).is_file()


def load(name: str, compute: Compute, load_base: Callable[[str], Model]) -> Model:
    """Return the model of a folder, under its absolute path.

    Args:
        name: The folder.
        compute: What its networks run on.
        load_base: Loads the model that an aligned model stands on.

    Raises:
        ModelError: The folder cannot be read, or was written by a newer version.
    """
    folder = Path(name).expanduser().absolute()
    settings = _read(folder)
    if settings.get("kind") == towers.KIND:
        return towers.load(folder, compute)
    try:
        return aligned.load(folder, settings, load_base(str(settings["base"])))
    except KeyError as error:
        raise ModelError(f"{folder / SETTINGS}: does not say {error}") from error


def write(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a model, last of all its files: they make the folder a model."""
    text = json.dumps({"format": FORMAT, **settings}, indent=1)  # paths need not be UTF-8
    with written_whole(folder / SETTINGS) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        version = int(settings["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / SETTINGS}: not the settings of a model: {error}") from error
    if version > FORMAT:
        raise ModelError(f"{folder}: written by a newer version of mmsearch; update mmsearch")
    return settings
