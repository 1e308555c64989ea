"""Recipes: FAISS factory strings, which to choose, and what they cost."""

import re
from typing import Any

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.store.faiss_ import inverted_file, load_faiss

MAX_TRAINING_BYTES = 512 * 2**20
"""Training rows in memory, as float32."""
_DIMENSIONS_A_BYTE = 8
"""Of a code, where nothing else is asked for."""
_GRAPH_LISTS = 16_384
"""From here a graph over the centroids finds lists: for a query alone in 0.4 ms instead of 4
(`benchmarks/coarse.py`)."""
GRAPH_LINKS = 32
"""Of each node, as the FAISS wiki advises ("Guidelines to choose an index")."""
_TRAINING_ROWS_PER_LIST = 20
"""FAISS asks for 39 and takes 10 rounds. With 40 and 10, instead of 20 and 4 and five times the
work, the first 64 of 4,096 lists hold 0.01 more of what text-like queries are for
(`benchmarks/ann.py`'s vectors)."""
_CENTROIDS = 256
"""A product quantiser with 8 bits a code has this many centroids and needs as many rows."""
_KEPT = {
    "IndexPreTransform",
    "IndexIVFPQ",
    "IndexIVFRaBitQ",
    "IndexIVFFlat",
    "IndexIVFScalarQuantizer",
}
"""Fast-scan codes end the process where they are added one by one (FAISS 1.15); others were not
tried."""
_FORM = re.compile(r"((?P<transforms>\w+(,\w+)*),)?IVF\d+(_HNSW\d+)?,[^,]+")
"""What finds lists cannot be less plain: training and :func:`with_lists` know only these."""


def choose_recipe(rows: int, dim: int, code_bytes: float | None = None) -> str:
    """Return the factory string for a field of that size.

    Args:
        rows: How many vectors.
        dim: Their dimensions.
        code_bytes: What a code may take: the largest codes that fit are chosen, the smallest where
            none do. By default one byte stands for 8 dimensions.
    """
    sizes = code_sizes(dim)
    limit = _bytes_of(_subquantizers(dim, _DIMENSIONS_A_BYTE)) if code_bytes is None else code_bytes
    fitting = [form for form, size in sizes.items() if size <= limit]
    return with_lists((fitting or list(sizes)[-1:])[0], rows)


def with_lists(form: str, rows: int) -> str:
    """Return the factory string of a form for a field of that size.

    ``nlist`` is the power of two next to 4·√n (FAISS wiki, "Guidelines to choose an index"); where
    lists are many, an HNSW graph finds them.
    """
    nlist = 2 ** round(np.log2(4 * np.sqrt(max(rows, 1))))
    return form.format(f"{nlist}_HNSW{GRAPH_LINKS}" if nlist >= _GRAPH_LISTS else nlist)


def code_sizes(dim: int) -> dict[str, int]:
    """Return the codes to choose from as factory strings without ``nlist``, with their bytes.

    The largest come first: a byte for each dimension, then for 2, 4, 8, 16 and 32 of them. Codes of
    4 bits are compared in registers (fast scan; André et al. 2017, arXiv 1704.07355), in a rotation
    that suits them (OPQ; Ge et al. 2013): at the same size four times as fast as codes of 8 bits,
    and what they leave out is less (`benchmarks/ann.py`).
    """
    forms = {"IVF{},SQ8": dim}
    for dimensions in (2, 4, 8, 16, 32):
        m = _subquantizers(dim, dimensions)
        forms[f"OPQ{m},IVF{{}},PQ{m}x4"] = _bytes_of(m)
    return forms


def form_of(recipe: str) -> str:
    """Return a factory string without its ``nlist`` and graph, as :func:`code_sizes` has it."""
    return re.sub(r"IVF\d+(_HNSW\d+)?", "IVF{}", recipe)


def _subquantizers(dim: int, dimensions: int) -> int:
    """Return the most, of 4 bits, that divide the dim, with so many dimensions a byte or more."""
    return next(m for m in range(max(1, 2 * dim // dimensions), 0, -1) if dim % m == 0)


def _bytes_of(subquantizers: int) -> int:
    return -(-subquantizers // 2)


def check_recipe(recipe: str, dim: int | None = None) -> None:
    """Refuse a factory string that FAISS does not know or whose codes cannot be kept.

    Raises:
        UsageError: The recipe does not fit.
    """
    faiss = load_faiss()
    try:
        index = untrained(recipe, dim or 2048)
        kinds = {
            type(faiss.downcast_index(part)).__name__ for part in (index, inverted_file(index))
        }
    except (RuntimeError, AttributeError):
        kinds = set()
    if not kinds or not nlist_of(recipe) or not _is_plain(recipe):
        raise UsageError(
            f"recipe {recipe!r}: not a FAISS factory string with an inverted file"
            f"{f' for {dim} dimensions' if dim else ''}; try 'IVF1024,PQ32'"
        )
    if not kinds <= _KEPT:
        kind = ", ".join(sorted(kinds - _KEPT))
        raise UsageError(
            f"recipe {recipe!r}: codes of {kind} cannot be kept; use PQ, RaBitQ, SQ or Flat"
        )


def _is_plain(recipe: str) -> bool:
    """Whether lists are found by their centroids or a graph, and OPQ is alone before them."""
    match = _FORM.fullmatch(recipe)
    if match is None:
        return False
    transforms = (match["transforms"] or "").split(",")
    return len(transforms) == 1 or not any(one.startswith("OPQ") for one in transforms)


def nlist_of(recipe: str) -> int | None:
    """Return the number of inverted lists in a factory string."""
    match = re.search(r"IVF(\d+)", recipe)
    return int(match[1]) if match else None


def rows_to_train(recipe: str) -> int:
    """Return how many rows a codebook needs at the least."""
    centroids = max((2 ** int(bits) for bits in re.findall(r"PQ\d+x(\d+)", recipe)), default=0)
    return max(nlist_of(recipe) or 0, centroids, _CENTROIDS)


def training_rows(recipe: str, dim: int) -> int:
    """Return how many rows at the most are worth training on."""
    wanted = _TRAINING_ROWS_PER_LIST * rows_to_train(recipe)
    return max(rows_to_train(recipe), min(wanted, MAX_TRAINING_BYTES // (4 * dim)))


def untrained(recipe: str, dim: int) -> Any:
    """An index of inner products whose lists are the cells of the nearest centroids.

    FAISS's own choice for inner products, lists by the angle to a centroid, forgets how far the
    rows of a list reach. See :meth:`mmsearch.store.ann.AnnIndex.probe`.
    """
    faiss = load_faiss()
    index = faiss.index_factory(dim, recipe, faiss.METRIC_L2)
    ivf = faiss.downcast_index(inverted_file(index))
    index.metric_type = ivf.metric_type = faiss.METRIC_INNER_PRODUCT
    if hasattr(ivf, "rabitq"):
        ivf.rabitq.metric_type = faiss.METRIC_INNER_PRODUCT
    return index
