"""Parquet files of embeddings: the one place that knows pyarrow's types when reading."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError, one_line
from mmsearch.sources.rows import Row

if TYPE_CHECKING:
    from pyarrow import Array, RecordBatch
    from pyarrow.parquet import ParquetFile


def require_parquet() -> None:
    """Raise UsageError where nothing can read and write Parquet files."""
    if find_spec("pyarrow") is None:
        raise UsageError("Parquet files need pyarrow: pip install 'mmsearch[vectors]'")


@contextmanager
def reading_parquet(path: Path) -> "Iterator[ParquetFile]":
    """Open a Parquet file; what pyarrow says of a damaged one becomes one line.

    Raises:
        UsageError: pyarrow is missing, or the file is damaged.
    """
    require_parquet()
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as table:
            yield table
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, ArrowException) as error:
        name, reason = one_line(str(path)), one_line(str(error))
        raise UsageError(f"{name}: not a Parquet file, or damaged: {reason}") from None


def plain_rows(batch: "RecordBatch") -> Sequence[Row]:
    """Rows of numbers, texts and lists: dates become texts, decimals numbers; no bytes."""
    import pyarrow as pa
    from pyarrow import types

    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = column.type
        if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
            continue
        if types.is_temporal(kind):
            column = column.cast(pa.string())
        elif types.is_decimal(kind):
            column = column.cast(pa.float64())
        columns[name] = column
    if not columns:
        return [{}] * len(batch)
    rows: Sequence[Row] = pa.RecordBatch.from_pydict(columns).to_pylist()
    return rows


def vectors_of(column: "Array") -> NDArray[Any] | None:
    """Vectors, (n, dim), a missing one NaN; None where the column holds no lists of one length."""
    import pyarrow as pa
    from pyarrow import compute, types

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return None
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = compute.list_value_length(column).drop_null().unique().to_pylist()
    if len(lengths) != 1:
        return None
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    if not np.issubdtype(flat.dtype, np.floating):
        return None
    vectors = np.full((len(column), lengths[0]), np.nan, flat.dtype)
    vectors[valid] = flat.reshape(-1, lengths[0])
    return vectors
