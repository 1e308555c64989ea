"""Embeddings that others have made: folders of clip-retrieval, .npz and .parquet files.

A folder holds ``img_emb/*.npy``, ``text_emb/*.npy`` or ``audio_emb/*.npy`` and, in the same order,
``metadata/*.parquet``: https://github.com/rom1504/clip-retrieval#clip-inference.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError, one_line
from mmsearch.records import Modality
from mmsearch.sources.parquet import plain_rows, reading_parquet, vectors_of
from mmsearch.sources.rows import Row

if TYPE_CHECKING:
    from pyarrow import RecordBatch

FOLDERS = {
    Modality.IMAGE: "img_emb",
    Modality.TEXT: "text_emb",
    Modality.AUDIO: "audio_emb",
}
METADATA = "metadata"
VECTOR_COLUMNS = ("vector", "embedding", "embeddings", "vectors")

Vectors = Mapping[Modality, NDArray[Any]]


class Shard(ABC):
    """One file of embeddings, or several that belong together, row by row.

    Attributes:
        paths: The files.
        modalities: Of the vectors.
    """

    paths: Sequence[Path]
    modalities: Sequence[Modality]

    @abstractmethod
    def count(self) -> int:
        """How many rows there are, by the files' headers.

        Raises:
            UsageError: A file is damaged, or two of them do not hold as many rows.
        """

    @abstractmethod
    def blocks(self, size: int) -> Iterator[tuple[Vectors, Sequence[Row]]]:
        """Stream vectors, (n, dim) of each modality, with their n rows of metadata.

        Raises:
            UsageError: A file is damaged, or two of them do not hold as many rows.
        """


class _Arrays(Shard):
    """Arrays of a folder, with or without a table."""

    def __init__(self, arrays: Mapping[Modality, Path], table: Path | None) -> None:
        self._arrays, self._table = arrays, table
        self.paths = [*arrays.values(), *([table] if table else [])]
        self.modalities = sorted(arrays)

    def count(self) -> int:
        counts = {path: len(_mapped(path)) for path in self._arrays.values()}
        if self._table:
            counts[self._table] = _row_count(self._table)
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{one_line(str(path))} {n:,}" for path, n in counts.items())
            raise UsageError(f"files that belong together differ in their rows: {said}")
        return next(iter(counts.values()))

    def blocks(self, size: int) -> Iterator[tuple[Vectors, Sequence[Row]]]:
        start = 0
        for rows in self._rows(size):
            end = start + len(rows)
            # Mapped anew each time: what was read through a map stays in memory.
            yield {m: _mapped(path)[start:end] for m, path in self._arrays.items()}, rows
            start = end

    def _rows(self, size: int) -> Iterator[Sequence[Row]]:
        count = self.count()
        if self._table is None:
            yield from ([{}] * min(size, count - start) for start in range(0, count, size))
        else:
            yield from (plain_rows(batch) for batch in _batches(self._table, size))


class _Npz(Shard):
    """Arrays by name in one file: one of two dimensions, the others a column each."""

    def __init__(self, path: Path, modality: Modality) -> None:
        self._path, self.paths, self.modalities = path, [path], [modality]

    def _name(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        names = [name for name, shape in shapes.items() if len(shape) == 2]
        known = [name for name in VECTOR_COLUMNS if name in names]
        if len(known or names) != 1:
            raise UsageError(f"{one_line(str(self._path))}: holds no one array of (rows, dim)")
        return (known or names)[0]

    def count(self) -> int:
        shapes = {}
        with _reading(self._path), ZipFile(self._path) as file:
            for name in file.namelist():
                with file.open(name) as member:
                    shapes[name.removesuffix(".npy")] = _shape(member)
        return shapes[self._name(shapes)][0]

    def blocks(self, size: int) -> Iterator[tuple[Vectors, Sequence[Row]]]:
        with _reading(self._path), np.load(self._path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        vectors = arrays.pop(self._name({name: array.shape for name, array in arrays.items()}))
        columns = {n: _plain(a) for n, a in arrays.items() if a.shape == (len(vectors),)}
        for start in range(0, len(vectors), size):
            some = vectors[start : start + size]
            part = {n: a[start : start + size].tolist() for n, a in columns.items()}
            rows = [{name: cells[at] for name, cells in part.items()} for at in range(len(some))]
            yield {self.modalities[0]: some}, rows


class _Table(Shard):
    """A Parquet file with a column of vectors."""

    def __init__(self, path: Path, modality: Modality) -> None:
        self._path, self.paths, self.modalities = path, [path], [modality]

    def count(self) -> int:
        return _row_count(self._path)

    def blocks(self, size: int) -> Iterator[tuple[Vectors, Sequence[Row]]]:
        for batch in _batches(self._path, size):
            held = [name for name in VECTOR_COLUMNS if name in batch.schema.names]
            if not held:
                names = " or ".join(VECTOR_COLUMNS)
                raise UsageError(f"{one_line(str(self._path))}: holds no column {names}")
            vectors = vectors_of(batch.column(held[0]))
            if vectors is None:
                name = one_line(str(self._path))
                raise UsageError(f"{name}: column {held[0]} holds no vectors of one dim")
            yield {self.modalities[0]: vectors}, plain_rows(batch.drop_columns(held[:1]))


def find_vectors(path: str, modality: Modality) -> list[Shard]:
    """Return the shards of a folder or a file.

    Args:
        path: Absolute.
        modality: What the vectors of a single file stand for; folders say it.

    Raises:
        UsageError: There are none.
    """
    place = Path(path)
    if place.is_dir():
        return _folder_shards(place)
    if not place.is_file():
        raise UsageError(f"{one_line(path)}: no such file or folder")
    match place.suffix.lower():
        case ".npy":
            return [_Arrays({modality: place}, None)]
        case ".npz":
            return [_Npz(place, modality)]
        case ".parquet":
            return [_Table(place, modality)]
    raise UsageError(f"{one_line(path)}: vectors come as .npy, .npz, .parquet, or in folders")


def _folder_shards(folder: Path) -> list[Shard]:
    arrays = {
        modality: _numbered(folder / name, ".npy")
        for modality, name in FOLDERS.items()
        if (folder / name).is_dir()
    }
    tables = _numbered(folder / METADATA, ".parquet")
    names = " or ".join(f"{name}/*.npy" for name in FOLDERS.values())
    if not any(arrays.values()):
        raise UsageError(f"{one_line(str(folder))}: holds no {names}")
    every = [*arrays.values(), *([tables] if tables else [])]
    if any([*map(_numbers, found)] != [*map(_numbers, every[0])] for found in every):
        raise UsageError(f"{one_line(str(folder))}: arrays and tables have different numbers")
    return [
        _Arrays({m: paths[at] for m, paths in arrays.items()}, tables[at] if tables else None)
        for at in range(len(every[0]))
    ]


def _numbered(folder: Path, suffix: str) -> list[Path]:
    """Files in the order of the numbers in their names: 10 comes after 9."""
    if not folder.is_dir():
        return []
    paths = (path for path in folder.iterdir() if path.suffix == suffix)
    return sorted(paths, key=lambda path: (_numbers(path), path.name))


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.stem)]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what NumPy and zipfile say of a damaged file into one line."""
    try:
        yield
    except UsageError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TokenError, BadZipFile) as error:
        # NumPy takes whatever it does not know for Python objects, which could run code.
        reason = "" if "pickle" in str(error) else f": {one_line(str(error))}"
        raise UsageError(f"{one_line(str(path))}: not a plain array{reason}") from None


def _mapped(path: Path) -> NDArray[Any]:
    with _reading(path):
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        raise UsageError(f"{one_line(str(path))}: not one array of (rows, dim)")
    return array


def _shape(member: IO[bytes]) -> tuple[int, ...]:
    """The shape that the header of an array says."""
    version = np.lib.format.read_magic(member)
    read = {(1, 0): np.lib.format.read_array_header_1_0}
    shape: tuple[int, ...] = read.get(version, np.lib.format.read_array_header_2_0)(member)[0]
    return shape


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """An array whose ``tolist`` gives numbers and texts."""
    if column.dtype.kind == "S":
        return np.char.decode(column, "utf-8", "replace")
    return column.astype(str) if column.dtype.kind in "mM" else column


def _batches(path: Path, size: int) -> "Iterator[RecordBatch]":
    """The rows of a Parquet file, at most so many at a time."""
    with reading_parquet(path) as table:
        yield from table.iter_batches(size)


def _row_count(path: Path) -> int:
    with reading_parquet(path) as table:
        return int(table.metadata.num_rows)
