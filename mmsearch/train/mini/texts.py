"""The texts that the text tower learns from, each with the text teacher's embedding."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmsearch.records import FloatArray
from mmsearch.train.files import save_arrays
from mmsearch.train.mini.data import descriptions, names, sentences
from mmsearch.train.mini.teachers import TextTeacher

log = logging.getLogger(__name__)

CHUNK = 4096
COMMON = 20_000
TEMPLATES = ("a photo of a {}", "the sound of a {}", "{} sound", "a picture of {}")


def phrases(lines: Sequence[str], count: int, seed: int) -> list[str]:
    """Stretches of 1 to 6 words cut from random lines: people type less than a caption."""
    rng = np.random.default_rng([seed, 1])
    found = []
    for number in rng.integers(0, len(lines), count):
        tokens = lines[number].lower().strip(" .").split()
        length = min(int(rng.integers(1, 7)), len(tokens))
        start = int(rng.integers(0, len(tokens) - length + 1))
        found.append(" ".join(tokens[start : start + length]).strip(" ,."))
    return found


def common_words() -> list[str]:
    """The 20,000 most frequent English words, from the package wordfreq (Speer 2022)."""
    from wordfreq import top_n_list

    words = top_n_list("en", COMMON)
    return [word for word in words if word.isascii() and word.isalpha() and len(word) > 2]


def corpus(data: Path, seed: int, dev: bool) -> list[str]:
    """Every text of the text stage, each once, in a random but repeatable order."""
    things, lines = names(data), sentences(data, dev)
    single = sorted({word.strip('.,!?"()') for line in lines for word in line.lower().split()})
    common = common_words()
    texts = things + single + common + lines + descriptions(data) + phrases(lines, 40_000, seed)
    texts += [template.format(thing) for template in TEMPLATES for thing in things]
    texts += [TEMPLATES[0].format(word) for word in common]
    unique = list(dict.fromkeys(filter(None, texts)))
    order = np.random.default_rng([seed, 2]).permutation(len(unique))
    return [unique[number] for number in order]


def embed_texts(texts: Sequence[str], out: Path) -> None:
    """Embed the corpus with the teacher, a file for each 4,096 texts; existing ones are kept."""
    starts = range(0, len(texts), CHUNK)
    missing = [at for at in starts if not (out / f"{at:06d}.npz").exists()]
    teacher = TextTeacher() if missing else None
    for at in missing:
        assert teacher is not None
        vectors = teacher(texts[at : at + CHUNK])
        save_arrays(out / f"{at:06d}.npz", vectors=vectors.astype(np.float16))
        log.info("texts: %d of %d", min(at + CHUNK, len(texts)), len(texts))


def load_text_vectors(out: Path) -> FloatArray:
    """The teacher's embeddings of the corpus: (n, 384) float32."""
    parts = []
    for path in sorted(out.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            parts.append(file["vectors"].astype(np.float32))
    return np.concatenate(parts)
