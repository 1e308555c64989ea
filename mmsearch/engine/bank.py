"""The reference bank: texts that stand for what people ask, embedded once for each model.

Phrases for what can be both seen and heard lead from one space into another (``bank.txt``); queries
made from patterns and words (``queries.toml``) are what searches are tuned on.
"""

import hashlib
import io
import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

import numpy as np

from mmsearch.cache import keep
from mmsearch.config import cache_folder
from mmsearch.encode import Encoder
from mmsearch.encode.batching import Batching
from mmsearch.records import FloatArray


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
    import tomllib  # here: searches use the phrases alone

    content = files("mmsearch.engine").joinpath("queries.toml").read_text(encoding="utf-8")
    bank = tomllib.loads(content)
    rng, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        found[_filled(rng.choice(bank["patterns"]), bank["words"], rng)] = None
    return list(found)


def _filled(pattern: str, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """A pattern with a word for each name, behind an article where it asks for one."""

    def word(name: re.Match[str]) -> str:
        chosen = rng.choice(words[name["list"]])
        article = "an" if chosen[0] in "aeiou" else "a"
        return f"{article} {chosen}" if name["article"] else chosen

    return re.sub(r"{(?P<article>a:)?(?P<list>\w+)}", word, pattern)


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
    return Batching(encoder)([encoder.prepare(text) for text in texts])
