"""Names and passages are data: nothing in them acts on a screen."""

import pytest
from present_cases import HOSTILE_NAMES

from mmsearch.present.words import lines, one_line, shorten, where
from mmsearch.records import Chunk, Modality


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_on_one_line_is_printable_and_encodable(name: str) -> None:
    shown = one_line(name)
    assert shown.isprintable()
    shown.encode("utf-8")


def test_joiners_stay_where_a_script_needs_them() -> None:
    assert one_line("می\u200cخواهم 👩\u200d🚀") == "می\u200cخواهم 👩\u200d🚀"
    assert one_line("a\u202eb") == "a\\u202eb"


def test_a_passage_keeps_its_line_breaks_and_nothing_else() -> None:
    assert lines("  one\t two\r\nthree\x1b[2J\u2028four\x0c") == "one two\nthree\\x1b[2J\nfour"


@pytest.mark.parametrize(
    ("text", "limit", "short"),
    [
        ("short  and\nsweet", 20, "short and sweet"),
        ("cut between the words", 15, "cut between…"),
        ("Unbreakable" * 3, 12, "Unbreakable…"),
        ("天空中有两只鸟在飞过大海", 8, "天空中有两只鸟…"),
        ("", 8, ""),
    ],
)
def test_shorten_cuts_between_words_where_there_are_any(text: str, limit: int, short: str) -> None:
    assert shorten(text, limit) == short
    assert len(short) <= limit


@pytest.mark.parametrize(
    ("modality", "chunk", "words"),
    [
        (Modality.AUDIO, Chunk(12.0, 22.0), "12.0–22.0 s"),
        (Modality.TEXT, Chunk(10, 250), "chars 10–250"),
        (Modality.IMAGE, Chunk(3.5), "3.5 s"),
        (Modality.IMAGE, Chunk(), ""),
    ],
)
def test_where_says_the_stretch_in_its_unit(modality: Modality, chunk: Chunk, words: str) -> None:
    assert where(modality, chunk) == words
