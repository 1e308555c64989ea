"""Decoding texts: encodings, passages, and files that are no texts."""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode import content_hash, decode_part
from mmsearch.decode.passages import passages
from mmsearch.decode.text import read_text
from mmsearch.errors import DecodeError
from mmsearch.records import Chunk, Modality, Part

GUARD: Final = DecodeLimits()
LIMITS: Final = InputLimits()


def cut(text: str, max_chars: int, longest: int = 10**9) -> list[str]:
    found = passages(text, max_chars, lambda passage: len(passage) <= longest)
    return [text[start:end] for start, end in found]


def decode(part: Part, limits: InputLimits = LIMITS) -> list[tuple[Chunk, str]]:
    found = list(decode_part(part, limits, lambda passage: True))
    return [(chunk, text) for chunk, text in found if isinstance(text, str)]


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def reason(part: Part) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(part)
    message = str(caught.value)
    assert message.isprintable()
    return message


class TestPassages:
    def test_a_short_text_is_one(self) -> None:
        assert list(passages("  a dog\n\nruns ", 100, lambda passage: True)) == [(2, 13)]

    def test_paragraphs_come_before_sentences(self) -> None:
        text = "One here. Two.\n \nThree is a paragraph. Four."
        assert cut(text, 30) == ["One here. Two.", "Three is a paragraph. Four."]

    def test_sentences_come_before_words(self) -> None:
        text = 'Is it one? "It is two." Three has no end'
        assert cut(text, 30) == ['Is it one? "It is two."', "Three has no end"]

    def test_numbers_and_abbreviations_inside_words_end_nothing(self) -> None:
        assert cut("about 3.14159 or so", 12) == ["about", "3.14159 or", "so"]

    def test_words_come_before_letters(self) -> None:
        assert cut("a " + "b" * 9 + " c", 10) == ["a", "b" * 9, "c"]
        assert cut("three words here", 11) == ["three words", "here"]
        assert cut("b" * 25, 10) == ["b" * 10, "b" * 10, "b" * 5]

    def test_chinese_and_japanese(self) -> None:
        assert cut("今天天气很好。我们去公园吧！好不好？", 8) == [
            "今天天气很好。",
            "我们去公园吧！",
            "好不好？",
        ]
        assert cut("彼は「行こう。」と言った", 9) == ["彼は「行こう。」", "と言った"]
        assert cut("春眠不觉晓，处处闻啼鸟", 8) == ["春眠不觉晓，", "处处闻啼鸟"]

    def test_a_passage_is_at_least_half_full_where_it_can_be(self) -> None:
        text = "Title\n\n" + "A sentence of words. " * 20
        assert len(cut(text, 100)[0]) > 50

    def test_they_are_cut_until_they_fit(self) -> None:
        text = "A sentence of words. " * 50
        found = cut(text, 1000, longest=50)
        assert all(25 <= len(passage) <= 50 for passage in found)
        assert len(found) <= len(text) / 25

    def test_a_limit_in_words(self) -> None:
        text = "some words that are counted, " * 40
        found = [
            text[start:end]
            for start, end in passages(text, 1000, lambda one: len(one.split()) <= 7)
        ]
        assert all(len(passage.split()) <= 7 for passage in found)
        assert " ".join(found).split() == text.split()

    def test_when_nothing_fits_it_says_so(self) -> None:
        with pytest.raises(ValueError, match="not even 'a' fits"):
            cut("abc", 10, longest=0)

    def test_a_long_text_is_asked_about_in_pieces(self) -> None:
        asked: list[int] = []

        def fits(passage: str) -> bool:
            asked.append(len(passage))
            return len(passage) <= 300

        text = "Words and more of them. " * 4000
        count = sum(1 for _ in passages(text, 1000, fits))
        assert max(asked) <= 1000
        assert len(asked) <= 2.5 * count

    @given(
        text=st.text(st.sampled_from("ab. \n!。，？\u3000\x1f\u00e9😀") | st.characters()),
        max_chars=st.integers(1, 30),
        longest=st.integers(1, 30),
    )
    def test_nothing_is_lost(self, text: str, max_chars: int, longest: int) -> None:
        found = list(passages(text, max_chars, lambda passage: len(passage) <= longest))
        assert all(0 < end - start <= min(max_chars, longest) for start, end in found)
        assert all(text[start:end].strip() == text[start:end] for start, end in found)
        edges = [0, *(edge for passage in found for edge in passage), len(text)]
        assert all(earlier <= later for earlier, later in pairwise(edges))
        gaps = zip(edges[::2], edges[1::2], strict=True)
        assert not any(text[start:end].strip() for start, end in gaps)


class TestFiles:
    @pytest.mark.parametrize(
        "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1"]
    )
    def test_encodings(self, tmp_path: Path, encoding: str) -> None:
        text = "Ein Hund läuft über die Straße, né?\r\nZwei.\n"
        path = write(tmp_path / "a.txt", text.encode(encoding))
        assert read_text(path, GUARD) == text

    def test_big_endian(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", b"\xfe\xff\x00a\x00\xe9")
        assert read_text(path, GUARD) == "aé"

    def test_windows_quotes(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", b"he said \x93no\x94 for 5 \x80")
        assert read_text(path, GUARD) == "he said “no” for 5 €"

    @pytest.mark.parametrize(
        "data",
        [
            "今天天气很好，我们去公园吧".encode("gb18030"),
            "Привет, как дела".encode("koi8-r"),
            b"GIF89a\0\0\0\0",
            b"plain, but with a NUL\0",
            b"undefined in Windows-1252, and not UTF-8: \x81 \xe9",
            b"\xff\xfea",  # half a character of UTF-16
            b"\xff\xfe\0\xd8a\0",  # half a pair of surrogates
            bytes(range(256)),
        ],
    )
    def test_what_is_no_text_is_refused(self, tmp_path: Path, data: bytes) -> None:
        path = write(tmp_path / "a.txt", data)
        assert reason(Part("file", Modality.TEXT, path)).startswith(f"{path}: not a text in UTF-8")

    @pytest.mark.parametrize("data", [b"", b" \n\t ", b"\xef\xbb\xbf", "\u3000".encode()])
    def test_an_empty_text_is_refused(self, tmp_path: Path, data: bytes) -> None:
        path = write(tmp_path / "a.txt", data)
        assert reason(Part("file", Modality.TEXT, path)) == f"{path}: the text is empty"

    def test_a_large_file_is_not_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", b"x" * 101)
        with pytest.raises(DecodeError, match="101 bytes of text are more than the limit of 100"):
            read_text(path, DecodeLimits(text_bytes=100))
        assert len(read_text(path, DecodeLimits(text_bytes=101))) == 101

    def test_missing_and_not_a_file(self, tmp_path: Path) -> None:
        for path, why in (
            (tmp_path / "a.txt", "No such file or directory"),
            (tmp_path, "not a reg"),
        ):
            assert reason(Part("file", Modality.TEXT, str(path))).startswith(f"{path}: {why}")

    def test_chunks_are_offsets_into_the_decoded_text(self, tmp_path: Path) -> None:
        text = "Überall Sätze. " * 100
        part = Part("file", Modality.TEXT, write(tmp_path / "a.md", text.encode("utf-16")))
        found = decode(part, InputLimits(text_chars=80))
        assert len(found) > 15
        for chunk, passage in found:
            assert isinstance(chunk.start, int) and isinstance(chunk.end, int)
            assert text[chunk.start : chunk.end] == passage
        assert found == decode(part, InputLimits(text_chars=80))


class TestInline:
    def test_takes_the_same_path(self) -> None:
        part = Part("caption", Modality.TEXT, text=" a dog runs. a cat sleeps. ")
        assert decode(part) == [(Chunk(1, 26), "a dog runs. a cat sleeps.")]
        assert len(decode(part, InputLimits(text_chars=15))) == 2

    def test_is_named_by_its_role(self) -> None:
        assert reason(Part("caption", Modality.TEXT, text=" ")) == "caption: the text is empty"

    def test_must_be_unicode(self) -> None:
        part = Part("caption", Modality.TEXT, text="a\ud800")
        assert reason(part) == "caption: the text is not valid Unicode"

    def test_has_a_hash(self) -> None:
        part = Part("caption", Modality.TEXT, text="é")
        assert content_hash(part) == hashlib.sha256("é".encode()).digest()
        assert len(content_hash(Part("caption", Modality.TEXT, text="\ud800"))) == 32
