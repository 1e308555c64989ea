"""What is said of the parts by a teacher: any model that an index takes, or a folder of arrays."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmsearch.encode import Model, load_model
from mmsearch.encode.heads import unit
from mmsearch.errors import UsageError
from mmsearch.records import FloatArray, Modality, Part
from mmsearch.train.features import embed_parts
from mmsearch.train.towers.clean import clean_text

Teacher = str | os.PathLike[str] | Model


def find_teacher(name: str | os.PathLike[str], device: str | None) -> Path | Model:
    """The folder of arrays of that name, else the model.

    Raises:
        ModelError: There is neither.
    """
    folder = Path(name).expanduser()
    return folder if any(folder.glob("*.npy")) else load_model(os.fspath(name), device)


def teach(
    teacher: Path | Model,
    parts: Mapping[Modality, Sequence[Part]],
    start: Path,
    home: Path,
    tell: Callable[[str], None],
) -> dict[Modality, FloatArray]:
    """The teacher's embeddings of the parts.

    A folder of arrays holds ``<modality>.npy``, (n, dim), for one modality or more, with a row for
    each part in the order in which the manifests first name them; or with ``<modality>.txt``, which
    names the file or the text of each row in its line.

    Args:
        teacher: A model, or such a folder.
        parts: By modality.
        start: Where relative file names in ``<modality>.txt`` start: the manifest's folder.
        home: Folder for a model's embeddings.
        tell: Called with lines that say how it goes.

    Returns:
        (parts, dim) float32, rows of unit length, or zeros for a part that it says nothing of.

    Raises:
        UsageError: The teacher says nothing of these modalities, or its arrays do not fit.
    """
    if isinstance(teacher, Path):
        found = {
            modality: _read(teacher, modality, members, start, tell)
            for modality, members in parts.items()
            if (teacher / f"{modality}.npy").exists()
        }
    else:
        found = {
            modality: embed_parts(members, modality, teacher, home, tell).joined
            for modality, members in parts.items()
            if teacher.fields(modality)
        }
    if not found:
        name = teacher.name if isinstance(teacher, Model) else str(teacher)
        raise UsageError(f"teacher {name!r}: has nothing for {' or '.join(parts)}")
    return {modality: unit(rows) for modality, rows in found.items()}


def _read(
    folder: Path,
    modality: Modality,
    parts: Sequence[Part],
    start: Path,
    tell: Callable[[str], None],
) -> FloatArray:
    path, names = folder / f"{modality}.npy", folder / f"{modality}.txt"
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not an array: {error}") from error
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise UsageError(
            f"{path}: shape {rows.shape} of {rows.dtype}, but rows of floats are needed"
        )
    if not names.exists():
        if len(rows) != len(parts):
            raise UsageError(
                f"{path}: {len(rows):,} rows for {len(parts):,} parts; name them in {names.name}"
            )
        return _checked(path, np.asarray(rows, np.float32))
    lines = names.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    if len(lines) != len(rows):
        raise UsageError(f"{names}: {len(lines):,} lines for {len(rows):,} rows of {path.name}")
    place = {_name(line, modality, start): number for number, line in enumerate(lines)}
    known = [(n, place[name]) for n, name in enumerate(map(_key, parts)) if name in place]
    if not known:
        raise UsageError(f"{names}: names none of the {modality} parts, such as {_key(parts[0])!r}")
    tell(f"{names}: names {len(known):,} of {len(parts):,} {modality} parts")
    found = np.zeros((len(parts), rows.shape[1]), np.float32)
    numbers, places = zip(*known, strict=True)
    found[list(numbers)] = rows[list(places)]
    return _checked(path, found)


def _key(part: Part) -> str:
    """What a part is named by: its file, or its text."""
    return part.path or str(part.text)


def _checked(path: Path, rows: FloatArray) -> FloatArray:
    if not np.isfinite(rows).all():
        raise UsageError(f"{path}: holds values that are no numbers")
    return rows


def _name(line: str, modality: Modality, start: Path) -> str:
    """A line as the parts have it: a clean text, or the absolute path of a file."""
    if modality is Modality.TEXT:
        return clean_text(line)
    return os.path.abspath(os.path.join(start, line))
