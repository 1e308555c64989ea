"""Embeddings that others have made: folders of clip-retrieval, .npz and .parquet files.

A folder holds ``img_emb/*.npy``, ``text_emb/*.npy`` or ``audio_emb/*.npy`` and, in the same order,
``metadata/*.parquet``: https://github.com/rom1504/clip-retrieval#clip-inference.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError, one_line
from mmsearch.records import Modality
from mmsearch.sources.rows import Row

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

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
    """

    paths: Sequence[Path]

    @abstractmethod
    def count(self) -> int:
        """How many rows there are.

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

    def count(self) -> int:
        counts = {path: len(_mapped(path)) for path in self._arrays.values()}
        if self._table:
            counts[self._table] = _parquet(self._table).metadata.num_rows
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{one_line(str(path))} {n:,}" for path, n in counts.items())
            raise UsageError(f"files that belong together differ in their rows: {said}")
        return next(iter(counts.values()))

    def blocks(self, size: int) -> Iterator[tuple[Vectors, Sequence[Row]]]:
        arrays = {modality: _mapped(path) for modality, path in self._arrays.items()}
        start = 0
        for rows in self._rows(size):
            end = start + len(rows)
            yield {modality: array[start:end] for modality, array in arrays.items()}, rows
            start = end

    def _rows(self, size: int) -> Iterator[Sequence[Row]]:
        count = self.count()
        if self._table is None:
            yield from ([{}] * min(size, count - start) for start in range(0, count, size))
        else:
            yield from (batch.to_pylist() for batch in _parquet(self._table).iter_batches(size))


class _Npz(Shard):
    """Arrays by name in one file: one of two dimensions, the others a column each."""

    def __init__(self, path: Path, modality: Modality) -> None:
        self.paths, self._modality = [path], modality

    @cached_property
    def _read(self) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        """The vectors, and the columns."""
        (path,) = self.paths
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise UsageError(f"{one_line(str(path))}: not an .npz of arrays: {error}") from None
        name = next((name for name, array in arrays.items() if array.ndim == 2), None)
        if name is None:
            raise UsageError(f"{one_line(str(path))}: holds no array of (rows, dim)")
        vectors = arrays.pop(name)
        return vectors, {n: a for n, a in arrays.items() if a.shape == (len(vectors),)}

    def count(self) -> int:
        return len(self._read[0])

    def blocks(self, size: int) -> Iterator[tuple[Vectors, Sequence[Row]]]:
        vectors, columns = self._read
        for start in range(0, len(vectors), size):
            some = vectors[start : start + size]
            part = {n: a[start : start + size].tolist() for n, a in columns.items()}
            yield (
                {self._modality: some},
                [{name: cells[at] for name, cells in part.items()} for at in range(len(some))],
            )


class _Table(Shard):
    """A Parquet file with a column of vectors."""

    def __init__(self, path: Path, modality: Modality) -> None:
        self.paths, self._modality = [path], modality

    def count(self) -> int:
        return int(_parquet(self.paths[0]).metadata.num_rows)

    def blocks(self, size: int) -> Iterator[tuple[Vectors, Sequence[Row]]]:
        (path,) = self.paths
        table = _parquet(path)
        name = next((name for name in VECTOR_COLUMNS if name in table.schema_arrow.names), None)
        if name is None:
            names = " or ".join(VECTOR_COLUMNS)
            raise UsageError(f"{one_line(str(path))}: holds no column {names}")
        for batch in table.iter_batches(size):
            lists = batch.column(name)
            flat = lists.flatten().to_numpy(zero_copy_only=False)
            if lists.null_count or len(flat) % len(batch):
                raise UsageError(
                    f"{one_line(str(path))}: column {name} holds no vectors of one dim"
                )
            vectors = flat.reshape(len(batch), -1)
            yield {self._modality: vectors}, batch.drop_columns([name]).to_pylist()


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
    raise UsageError(f"{one_line(path)}: vectors come as .npy, .npz, .parquet, or a folder of them")


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
    counts = {len(found) for found in arrays.values()} | ({len(tables)} if tables else set())
    if len(counts) > 1:
        raise UsageError(f"{one_line(str(folder))}: arrays and tables differ in number")
    return [
        _Arrays({m: paths[at] for m, paths in arrays.items()}, tables[at] if tables else None)
        for at in range(counts.pop())
    ]


def _numbered(folder: Path, suffix: str) -> list[Path]:
    """Files in the order of the numbers in their names: 10 comes after 9."""
    if not folder.is_dir():
        return []
    paths = (path for path in folder.iterdir() if path.suffix == suffix)
    return sorted(paths, key=lambda path: (_numbers(path), path.name))


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.stem)]


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{one_line(str(path))}: not an array: {error}") from None
    if array.ndim != 2:
        raise UsageError(f"{one_line(str(path))}: {array.ndim} dimensions, not (rows, dim)")
    return array


def require_parquet() -> None:
    """Raise UsageError where nothing can read and write Parquet files."""
    if find_spec("pyarrow") is None:
        raise UsageError("Parquet files need pyarrow: pip install 'mmsearch[vectors]'")


def _parquet(path: str | os.PathLike[str]) -> "ParquetFile":
    require_parquet()
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path)
    except (OSError, ArrowException) as error:
        raise UsageError(f"{one_line(os.fspath(path))}: not a Parquet file: {error}") from None
