"""Named groups of arrays in one safetensors file: what training puts beside a base model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mmsearch.errors import ModelError
from mmsearch.records import FloatArray
from mmsearch.whole import written_whole

Groups = Mapping[str, Mapping[str, FloatArray]]


def save_groups(path: Path, groups: Groups) -> None:
    """Write the arrays of each group under ``GROUP.ARRAY``."""
    from safetensors.numpy import save_file

    arrays = {
        f"{group}.{name}": np.ascontiguousarray(array)
        for group, members in groups.items()
        for name, array in members.items()
    }
    with written_whole(path) as temporary:
        save_file(arrays, temporary)


def load_groups(path: Path, names: Iterable[str], what: str) -> Groups:
    """Read the arrays of some groups.

    Args:
        path: The file.
        names: The groups.
        what: What the file holds, for the error.

    Raises:
        ModelError: It cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: {what} cannot be read: {error}") from error
    return {
        group: {
            name.removeprefix(f"{group}."): array
            for name, array in arrays.items()
            if name.startswith(f"{group}.")
        }
        for group in names
    }
