"""The reference bank: phrases for what can be both seen and heard, embedded once for each model."""

import hashlib
import io
from functools import lru_cache
from importlib.resources import files

import numpy as np

from mmsearch.cache import keep
from mmsearch.config import cache_folder
from mmsearch.encode import Encoder
from mmsearch.records import FloatArray


@lru_cache(maxsize=1)
def bank_texts() -> tuple[str, ...]:
    """The phrases, which come with the package."""
    lines = files("mmsearch.engine").joinpath("bank.txt").read_text(encoding="utf-8")
    return tuple(lines.splitlines())


def bank_vectors(encoder: Encoder) -> FloatArray:
    """The phrases in a text encoder's space: (n, dim) float32; kept in the user's cache."""
    texts = bank_texts()
    digest = hashlib.sha256("\n".join((encoder.space.sha256, *texts)).encode()).hexdigest()
    path = cache_folder() / f"bank-{digest[:16]}.npy"
    try:
        kept: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        kept = _embed(encoder, texts)
        content = io.BytesIO()
        np.save(content, kept, allow_pickle=False)
        keep(path, content.getvalue())
    return kept


def _embed(encoder: Encoder, texts: tuple[str, ...]) -> FloatArray:
    size = encoder.batch_size
    batches = (texts[at : at + size] for at in range(0, len(texts), size))
    return np.concatenate([encoder.encode([encoder.prepare(t) for t in b]) for b in batches])
