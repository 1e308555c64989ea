"""What callers ask with, as queries: texts, and vectors that were embedded elsewhere."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mmsearch.encode import Model
from mmsearch.engine.query import Query, sentences
from mmsearch.errors import UsageError
from mmsearch.records import FloatArray, Space


def given_queries(
    queries: Sequence[str | Query] | None,
    vectors: ArrayLike | None,
    space: str | None,
    templates: str | Sequence[str],
    model: Model,
) -> list[Query]:
    """Return the queries of a batch; see :meth:`Index.search_many`.

    Raises:
        UsageError: They are given both ways or not at all, or the vectors are not of the model's.
    """
    if queries is not None and vectors is None:
        around = sentences(templates)
        return [q if isinstance(q, Query) else Query(q, templates=around) for q in queries]
    if vectors is not None and queries is None:
        return [Query(vectors=vector) for vector in given(vectors, space, model)]
    raise UsageError("search_many takes queries or vectors")


def given(
    vectors: ArrayLike | list[ArrayLike], space: str | None, model: Model
) -> list[dict[str, FloatArray]]:
    """Return for each vector what the embedding of a query is: its direction, by space.

    Args:
        vectors: (n, dim) numbers.
        space: Its name; needed where the model has several.
        model: The index's model.

    Returns:
        For each (dim,) float32 of unit length, by the space's name.

    Raises:
        UsageError: They are not vectors of that space, or it is not clear of which.
    """
    named = _named(space, model)
    try:
        rows = np.asarray(vectors, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a vector of {named.name!r} is {named.dim} numbers: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != named.dim:
        dim = "x".join(map(str, rows.shape[1:])) or "one"
        raise UsageError(f"a vector of {named.name!r} is {named.dim} numbers, not {dim}")
    lengths = np.sqrt(np.vecdot(rows, rows))[:, None]
    if not np.all((lengths > 0) & np.isfinite(lengths)):
        raise UsageError("a vector must be finite and not all zeros, or it points nowhere")
    return [{named.name: row} for row in (rows / lengths).astype(np.float32)]


def _named(name: str | None, model: Model) -> Space:
    spaces = {space.name: space for space in model.spaces}
    if name is None and len(spaces) == 1:
        return model.spaces[0]
    if name is None:
        raise UsageError(f"model {model.name!r} has several spaces; name one: {', '.join(spaces)}")
    if name not in spaces:
        raise UsageError(f"model {model.name!r} has no space {name!r}, but {', '.join(spaces)}")
    return spaces[name]
