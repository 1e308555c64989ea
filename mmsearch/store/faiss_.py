"""The only place that imports FAISS, when it is first needed."""

from typing import Any


def load_faiss() -> Any:
    """Return the library."""
    import faiss

    return faiss


def transforms(index: Any) -> list[Any]:
    """Return what is done to vectors before they reach the inverted file."""
    faiss = load_faiss()
    count = index.chain.size() if isinstance(index, faiss.IndexPreTransform) else 0
    return [faiss.downcast_VectorTransform(index.chain.at(number)) for number in range(count)]


def inverted_file(index: Any) -> Any:
    """Return the inverted file inside an index, past its transforms."""
    return load_faiss().extract_index_ivf(index)
