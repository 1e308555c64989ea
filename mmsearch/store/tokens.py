"""Words of a text, for the lexical index: one function for passages, file names and queries.

SQLite's FTS5 then sees words between spaces and only stems them (Porter, 1980), so that the
Unicode rules are Python's, and the same when a passage is written and when it is looked for.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import chain

MAX_WORD_CHARS = 64
"""Longer words (base64, hashes) are cut; FTS5's Porter stemmer leaves such words alone too."""

# Scripts written without spaces, or (Hangul) with suffixes glued to the word: Thai to Myanmar,
# Khmer, kana, Han, Hangul. NFKC has already turned half-width and compatibility forms into these.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUNS = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED} ]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ACCENTS = re.compile("[\u0300-\u036f]")  # combining marks of Latin, Greek and Cyrillic
_SEAMS = re.compile(
    r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)


class _SeparatorTable(dict[int, str]):
    """Maps every code point that no word contains to a space; filled as characters turn up."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # Marks are kept: the vowel signs of Indic scripts are marks, inside words.
        kept = character.isalnum() or unicodedata.category(character)[0] == "M"
        self[code] = character if kept else " "
        return self[code]


_SEPARATORS = _SeparatorTable()


def words(text: str) -> list[str]:
    """The words of a text in order, folded so that variants of a word compare equal.

    NFKC, no accents, no case; split at everything that is neither letter, digit nor mark. A word
    with seams (``beachDay2``) yields itself and its pieces (``beachday2 beach day 2``). A run of
    Chinese, Japanese, Korean, Thai, Khmer or Burmese yields its characters and its overlapping
    pairs, so that a query of one character finds as well as a longer one.
    """
    if text.isascii():  # every character is spaced: most of what an import has to do
        runs = text.translate(_SEPARATORS).split()
        return list(chain.from_iterable(map(_with_pieces, runs)))
    found: list[str] = []
    for run in _RUNS.findall(_normalized(text).translate(_SEPARATORS)):
        if _IS_UNSPACED.match(run):
            found.extend(run)
            found.extend(run[i : i + 2] for i in range(len(run) - 1))
        else:
            found.extend(_with_pieces(run))
    return found


def _normalized(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))


@lru_cache(maxsize=50_000)  # few words make most of a text
def _with_pieces(run: str) -> tuple[str, ...]:
    pieces = _SEAMS.split(run)
    if len(pieces) > 1:
        pieces.insert(0, run)
    return tuple(piece[:MAX_WORD_CHARS].casefold() for piece in pieces)
