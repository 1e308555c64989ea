"""The reference bank: texts that stand for what people ask, embedded once for each model.

Phrases for what can be both seen and heard lead from one space into another (``bank.txt``).
Queries made from patterns and words (``queries.toml``) are what searches are tuned on; with
descriptions made likewise, they show hubs.
"""

import hashlib
import io
import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from mmsearch.cache import keep
from mmsearch.config import cache_folder
from mmsearch.encode import AskingEncoder, Encoder
from mmsearch.encode.batching import Batching
from mmsearch.records import FloatArray

log = logging.getLogger(__name__)

_SEED = 0
_LONG_S = 5
"""Seconds that nobody waits for without a word."""


@lru_cache(maxsize=1)
def bank_texts() -> tuple[str, ...]:
    """The phrases, which come with the package."""
    lines = files("mmsearch.engine").joinpath("bank.txt").read_text(encoding="utf-8")
    return tuple(lines.splitlines())


def queries(count: int, seed: int) -> list[str]:
    """Make queries as people ask them, each once.

    Args:
        count: How many.
        seed: Of the choice; other seeds give other queries, of which a few are the same.
    """
    return _made(_patterns()["patterns"], count, seed)


def descriptions(count: int, seed: int) -> list[str]:
    """Make sentences as people describe photos, each once; arguments as for :func:`queries`."""
    weighted = _patterns()["descriptions"]
    return _made([pattern for weight, pattern in weighted for _ in range(weight)], count, seed)


def _made(patterns: Sequence[str], count: int, seed: int) -> list[str]:
    words, rng, found = _patterns()["words"], random.Random(seed), dict[str, None]()
    while len(found) < count:
        found[_filled(rng.choice(patterns), words, rng)] = None
    return list(found)


@lru_cache(maxsize=1)
def _patterns() -> Any:
    import tomllib  # here: searches use the phrases alone

    content = files("mmsearch.engine").joinpath("queries.toml").read_text(encoding="utf-8")
    return tomllib.loads(content)


def _filled(pattern: str, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """A pattern with a word for each name, behind an article where it asks for one."""

    def word(name: re.Match[str]) -> str:
        chosen = rng.choice(words[name["list"]])
        if not name["article"]:
            return chosen
        return f"{'an' if chosen[0] in 'aeiou' else 'a'} {chosen}"

    return " ".join(re.sub(r"{(?P<article>a:)?(?P<list>\w+)}", word, pattern).split())


def bank_vectors(encoder: Encoder) -> FloatArray:
    """The phrases in a text encoder's space: (n, dim) float32; kept in the user's cache."""
    return _kept(encoder, bank_texts(), encoder.prepare)


def query_vectors(encoder: Encoder, count: int) -> FloatArray:
    """Queries and descriptions in a text encoder's space: (count, dim) float32, kept likewise."""
    half = count // 2
    texts = (*queries(count - half, _SEED), *descriptions(half, _SEED))
    prepare = encoder.prepare_query if isinstance(encoder, AskingEncoder) else encoder.prepare
    return _kept(encoder, texts, prepare)


def _kept(encoder: Encoder, texts: Sequence[str], prepare: Callable[[str], object]) -> FloatArray:
    digest = hashlib.sha256("\n".join((encoder.space.sha256, *texts)).encode()).hexdigest()
    path = cache_folder() / f"bank-{digest[:16]}.npy"
    try:
        kept: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        kept = _embedded(encoder, [prepare(text) for text in texts])
        content = io.BytesIO()
        np.save(content, kept, allow_pickle=False)
        keep(path, content.getvalue())
    return kept


def _embedded(encoder: Encoder, prepared: Sequence[object]) -> FloatArray:
    """Embed many inputs, and say so where that takes long: no bar shows it."""
    batching, started = Batching(encoder), time.monotonic()
    first = batching(prepared[: batching.size])
    rest = prepared[len(first) :]
    seconds = (time.monotonic() - started) * len(rest) / len(first)
    if seconds > _LONG_S:
        log.warning("embedding %d texts, once for this model: %.0f s", len(prepared), seconds)
    return np.concatenate([first, batching(rest)]) if rest else first
