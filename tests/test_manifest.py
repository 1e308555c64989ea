"""Manifests: what rows become, and how a bad one is told apart from the rest."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import UsageError
from mmsearch.records import Failure, Item, Modality
from mmsearch.sources import find_items
from mmsearch.sources.formats import ROW_BYTES
from mmsearch.sources.rows import csv_value


def read(path: Path, *text_columns: str) -> tuple[list[Item], list[Failure]]:
    found = list(find_items([path], text_columns=text_columns))
    items = [one for one in found if isinstance(one, Item)]
    failures = [one for one in found if isinstance(one, Failure)]
    assert len(items) + len(failures) == len(found)
    assert all(failure.source == str(path) for failure in failures)
    assert all(failure.reason.isprintable() for failure in failures)
    return items, failures


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_rows(path: Path, *rows: object) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def reasons(failures: Sequence[Failure]) -> list[tuple[str | None, str]]:
    return [(failure.row, failure.reason) for failure in failures]


class TestRows:
    def test_a_picture_with_its_caption_and_its_sound(self, jsonl: Path) -> None:
        row = {
            "id": "b7",
            "image": "p/dog.jpg",
            "audio": "/sounds/bark.wav",
            "text": "a dog",
            "caption": "it barks",
            "lang": "en",
            "year": 1999,
            "tags": ["dog", 3, None],
            "clip": "dog.mp4",
        }
        ((item,), failures) = read(write_rows(jsonl, row), "caption")
        assert not failures
        assert (item.source, item.row) == (str(jsonl), "b7")
        assert [(part.role, part.modality, part.path or part.text) for part in item.parts] == [
            ("image", Modality.IMAGE, str(jsonl.parent / "p/dog.jpg")),
            ("audio", Modality.AUDIO, "/sounds/bark.wav"),
            ("text", Modality.TEXT, "a dog"),
            ("caption", Modality.TEXT, "it barks"),
        ]
        assert dict(item.columns) == {
            "lang": "en",
            "year": 1999,
            "tags": ("dog", 3, None),
            "clip": "dog.mp4",
        }

    def test_a_list_makes_one_part_each(self, jsonl: Path) -> None:
        captions = ["one", "two", "  ", None, "three"]
        row = {"image": ["a.png", "b"], "caption": captions}
        ((item,), _) = read(write_rows(jsonl, row), "caption")
        parts = [(part.role, part.text) for part in item.parts if part.text]
        assert parts == [("caption", "one"), ("caption", "two"), ("caption", "three")]
        assert [Path(part.path).name for part in item.parts if part.path] == ["a.png", "b"]

    @pytest.mark.parametrize("column", ["path", "file"])
    def test_a_path_goes_by_its_suffix(self, jsonl: Path, column: str) -> None:
        write_rows(
            jsonl, {column: "a.PNG"}, {column: "b.flac"}, {column: "c.md"}, {column: "d.pdf"}
        )
        items, failures = read(jsonl)
        assert [item.parts[0].modality for item in items] == ["image", "audio", "text"]
        assert reasons(failures) == [
            ("4", f"column '{column}': the type of 'd.pdf' is not indexed")
        ]

    def test_undeclared_text_stays_metadata(self, jsonl: Path) -> None:
        ((item,), _) = read(write_rows(jsonl, {"text": "x", "caption": "y"}))
        assert [part.role for part in item.parts] == ["text"]
        assert item.columns["caption"] == "y"

    def test_a_title_that_is_a_text_part_still_names_the_item(self, jsonl: Path) -> None:
        ((item,), _) = read(write_rows(jsonl, {"title": "Waves"}), "title")
        assert [part.text for part in item.parts] == ["Waves"]
        assert item.name == "Waves"

    def test_json_values_become_columns(self, jsonl: Path) -> None:
        row = {"text": "x", "a": {"b": [1, "é"]}, "c": [[1], 2], "d": True, "e": None, "f": 2**70}
        ((item,), _) = read(write_rows(jsonl, row))
        assert dict(item.columns) == {
            "a": '{"b": [1, "é"]}',
            "c": "[[1], 2]",
            "d": True,
            "e": None,
            "f": str(2**70),
        }

    def test_numbers_that_are_none_become_none(self, jsonl: Path) -> None:
        write(jsonl, '{"text": "x", "a": NaN, "b": -Infinity, "c": 1e999, "d": [NaN, 1]}\n')
        ((item,), _) = read(jsonl)
        assert dict(item.columns) == {"a": None, "b": None, "c": None, "d": (None, 1)}

    def test_numbers_as_texts(self, jsonl: Path) -> None:
        ((item,), _) = read(write_rows(jsonl, {"title": 1984, "text": 2.5}), "title")
        assert [part.text for part in item.parts] == ["2.5", "1984"]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"lang": "en"}, "no picture, sound or text in any of the columns image, audio"),
            ({"image": ""}, "no picture, sound or text"),
            ({"image": None, "text": " \n"}, "no picture, sound or text"),
            ({"image": 3}, "column 'image' must name a file"),
            ({"image": {"bytes": ""}}, "column 'image' must name a file"),
            ({"audio": "a\0.wav"}, "column 'audio': 'a\\x00.wav' cannot be a file name"),
            ({"audio": "\ud800.wav"}, "column 'audio': '\\ud800.wav' cannot be a file name"),
            ({"text": {"en": "x"}}, "column 'text' must be a text or a list of texts"),
            ({"text": True}, "column 'text' must be a text or a list of texts"),
            ({"text": "a\0b"}, "column 'text' holds a NUL character"),
            ({"text": "a\ud83d"}, "column 'text' is not valid UTF-8"),
            ({"text": "x", "a\n": "\ud83d"}, "column 'a\\n' is not valid UTF-8"),
            ({"text": "x", "a": ["\0"]}, "column 'a' holds a NUL character"),
            ({"text": "x", "a": {"b": "\ud83d"}}, "column 'a' is not valid UTF-8"),
            ({"text": "x", "\ud83d": 1}, "a column name is not valid UTF-8"),
            ({"text": "x", "id": 1.5}, "the id must be a text or a whole number"),
            ({"text": "x", "id": True}, "the id must be a text or a whole number"),
            ([1, 2], "the row is not a JSON object"),
            (None, "the row is not a JSON object"),
        ],
    )
    def test_a_bad_row_is_a_failure_and_the_rest_goes_on(
        self, jsonl: Path, row: object, reason: str
    ) -> None:
        items, failures = read(write_rows(jsonl, {"text": "one"}, row, {"text": "three"}))
        assert [item.row for item in items] == ["1", "3"]
        ((number, found),) = reasons(failures)
        assert number == "2"
        assert found.startswith(reason)


class TestIds:
    def test_rows_without_an_id_go_by_their_number(self, jsonl: Path) -> None:
        write_rows(jsonl, {"text": "a", "id": ""}, {"text": "b", "id": None}, {"text": "c"})
        assert [item.row for item in read(jsonl)[0]] == ["1", "2", "3"]

    def test_an_id_is_used_once(self, jsonl: Path) -> None:
        write_rows(jsonl, *({"text": "x", "id": name} for name in ("a", 7, "7", "b", "a")))
        items, failures = read(jsonl)
        assert [item.row for item in items] == ["a", "7", "b"]
        assert reasons(failures) == [
            ("3", "another row has the id '7'"),
            ("5", "another row has the id 'a'"),
        ]

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            ((None, "1"), ["1"]),  # the second row asks for the first one's number
            (("2", None), ["2"]),  # the first one has taken the second one's
            ((None, "01", "٢", "9" * 5000), ["1", "01", "٢", "9" * 5000]),  # none is a number here
        ],
    )
    def test_ids_and_numbers_do_not_meet(
        self, jsonl: Path, ids: Sequence[str | None], expected: list[str]
    ) -> None:
        items, failures = read(write_rows(jsonl, *({"text": "x", "id": name} for name in ids)))
        assert [item.row for item in items] == expected
        assert len(items) + len(failures) == len(ids)

    def test_all_keys_differ(self, jsonl: Path) -> None:
        items, _ = read(write_rows(jsonl, *({"text": "x"} for _ in range(50))))
        assert len({item.key for item in items}) == 50


class TestTextColumns:
    def test_one_that_no_row_has_is_told_at_the_end(self, jsonl: Path) -> None:
        items, failures = read(write_rows(jsonl, {"text": "x", "caption": "y"}), "captoin")
        assert len(items) == 1
        assert reasons(failures) == [(None, "text column 'captoin': no row has this column")]

    def test_one_manifest_that_has_it_is_enough(self, tmp_path: Path) -> None:
        first = write_rows(tmp_path / "a.jsonl", {"caption": "x"})
        second = write_rows(tmp_path / "b.jsonl", {"text": "y"})
        found = list(find_items([first, second], text_columns=["caption"]))
        assert [type(one) for one in found] == [Item, Item]

    def test_they_need_a_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="text column 'caption': only manifests"):
            find_items([tmp_path], text_columns=["caption"])

    def test_they_are_not_files(self, jsonl: Path) -> None:
        with pytest.raises(UsageError, match="'image': this column names files"):
            find_items([write_rows(jsonl, {"text": "x"})], text_columns=["image"])


class TestJsonLines:
    def test_line_ends_marks_and_blank_lines(self, jsonl: Path) -> None:
        write(jsonl, b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}')
        items, failures = read(jsonl)
        assert [(item.row, item.parts[0].text) for item in items] == [("1", "a"), ("4", "b")]
        assert not failures

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b'{"text": "x"', "bad JSON: Expecting ',' delimiter at column 13"),
            (b'{"text": "a\0b"}', "bad JSON: Invalid control character at at column 12"),
            (b"\xff\xfe\xfd", "bad JSON: Expecting value at column 1"),
            (b'{"text": "caf\xe9"}', "column 'text' is not valid UTF-8"),
            (b"[" * 100_000, "bad JSON: maximum recursion depth exceeded"),
            (b'{"a": ' + b"1" * 5000 + b"}", "bad JSON: Exceeds the limit"),
            (b'{"text": "' + b"x" * ROW_BYTES + b'"}', "the line is longer than 16 MiB"),
        ],
    )
    def test_a_bad_line_is_a_failure_and_the_rest_goes_on(
        self, jsonl: Path, line: bytes, reason: str
    ) -> None:
        write(jsonl, b'{"text": "one"}\n' + line + b'\n{"text": "three"}\n')
        items, failures = read(jsonl)
        assert [item.row for item in items] == ["1", "3"]
        ((number, found),) = reasons(failures)
        assert number == "2"
        assert found.startswith(reason)

    def test_no_depth_of_nesting_ends_the_run(self, jsonl: Path) -> None:
        depths = [1, *range(900, 1010, 3), 5000]
        write(jsonl, "".join(f'{{"text": "x", "a": {"[" * n}{"]" * n}}}\n' for n in depths))
        items, failures = read(jsonl)
        assert items[0].row == "1"
        assert failures[-1].row == str(len(depths))
        assert len(items) + len(failures) == len(depths)

    def test_a_path_may_hold_any_bytes(self, jsonl: Path) -> None:
        write(jsonl, b'{"image": "caf\xe9.jpg"}\n{"image": "caf\\udce9.jpg"}\n')
        items, _ = read(jsonl)
        assert [item.parts[0].path for item in items] == [f"{jsonl.parent}/caf\udce9.jpg"] * 2

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "the manifest has no rows"),
            (b"\n \n", "the manifest has no rows"),
            ('{"text": "x"}'.encode("utf-16"), "the manifest is UTF-16: save it as UTF-8"),
        ],
    )
    def test_a_manifest_that_says_nothing(self, jsonl: Path, content: bytes, reason: str) -> None:
        assert reasons(read(write(jsonl, content))[1]) == [(None, reason)]

    def test_a_manifest_with_one_bad_row_only(self, jsonl: Path) -> None:
        assert [row for row, _ in reasons(read(write(jsonl, "nonsense"))[1])] == ["1"]

    def test_suffixes_in_any_case(self, tmp_path: Path) -> None:
        assert len(read(write_rows(tmp_path / "A.NDJSON", {"text": "x"}))[0]) == 1


class TestCsv:
    def test_cells(self, table: Path) -> None:
        write(table, '\ufeff,id , image,n,x,code,none,tags\r\n0,007,a.png,12,0.50,007,,"a;b"\r\n')
        ((item,), failures) = read(table)
        assert not failures
        assert item.row == "007"
        assert dict(item.columns) == {"n": 12, "x": 0.5, "code": "007", "none": None, "tags": "a;b"}

    def test_texts_and_quotes(self, table: Path) -> None:
        write(table, 'text,caption\n"say ""hi"",\nthere",1.50\n\n,1e5\n')
        items, failures = read(table, "caption")
        assert [[part.text for part in item.parts] for item in items] == [
            ['say "hi",\nthere', "1.50"],
            ["1e5"],
        ]
        assert [item.row for item in items] == ["1", "2"]
        assert not failures

    def test_tabs(self, tmp_path: Path) -> None:
        ((item,), _) = read(write(tmp_path / "rows.tsv", "text\ta,b\nx, y\t1\n"))
        assert (item.parts[0].text, dict(item.columns)) == ("x, y", {"a,b": 1})

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (b"a", "1 values for 2 columns"),
            (b"a,b,c", "3 values for 2 columns"),
            (b'"a"b,c', "bad CSV: ',' expected after '\"'"),
            (b'"unclosed,c', "bad CSV: unexpected end of data"),
            (b"x" * 200_000 + b",c", "bad CSV: field larger than field limit (131072)"),
            (b"a\0,c", "column 'text' holds a NUL character"),
            (b"caf\xe9,c", "column 'text' is not valid UTF-8"),
            (b"x" * ROW_BYTES + b",c", "bad CSV: the line is longer than 16 MiB"),
            (b" ,c", "no picture, sound or text"),
        ],
    )
    def test_a_bad_row_is_a_failure_and_the_rest_goes_on(
        self, table: Path, row: bytes, reason: str
    ) -> None:
        write(table, b"text,lang\none,en\n" + row + b"\nthree,en\nfour,de\n")
        items, failures = read(table)
        assert [(item.row, item.parts[0].text) for item in items] == [
            ("1", "one"),
            ("3", "three"),
            ("4", "four"),
        ]
        ((number, found),) = reasons(failures)
        assert number == "2"
        assert found.startswith(reason)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("", "the manifest is empty"),
            ("\n\n", "the manifest is empty"),
            ("text,lang\n", "the manifest has no rows"),
            ("text,lang,lang\nx,y,z\n", "the header names column 'lang' twice"),
            ("id;image\n1;a.png\n", "the header names none of the columns image, audio, video"),
            ('"text\nx\n', "bad header: bad CSV: unexpected end of data"),
        ],
    )
    def test_a_manifest_that_cannot_be_read(self, table: Path, content: str, reason: str) -> None:
        items, failures = read(write(table, content))
        assert not items
        ((row, found),) = reasons(failures)
        assert row is None
        assert found.startswith(reason)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("7", 7),
            ("-7", -7),
            ("0", 0),
            ("3.10", 3.1),
            ("-0.5", -0.5),
            ("1e-05", 1e-05),
            ("", None),
            ("007", "007"),
            ("+7", "+7"),
            ("-0", "-0"),
            (" 7", " 7"),
            ("1_000", "1_000"),
            ("٣", "٣"),
            ("1,5", "1,5"),
            ("1e5", "1e5"),
            ("nan", "nan"),
            ("inf", "inf"),
            ("00.5", "00.5"),
            ("0.1234567890123456789", "0.1234567890123456789"),
            ("True", "True"),
        ],
    )
    def test_only_exact_numbers_are_numbers(self, text: str, value: object) -> None:
        assert csv_value(text) == value
        assert type(csv_value(text)) is type(value)

    @given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
    def test_a_number_that_python_wrote_is_read_or_kept(self, number: float) -> None:
        value = csv_value(str(number))
        assert value in (number, str(number))

    @given(st.text("0123456789.-+eE_ infa", max_size=20))
    def test_nothing_gets_lost(self, text: str) -> None:
        value = csv_value(text)
        assert value == text or float(text or "nan") == value or (not text and value is None)


def test_an_unreadable_manifest_is_a_failure(tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "a.jsonl", {"text": "x"})
    found = find_items([manifest])
    manifest.unlink()
    (failure,) = found
    assert failure == Failure(str(manifest), "No such file or directory")
