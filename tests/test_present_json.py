"""The JSON output follows its schema, and loses nothing."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present_cases import HOSTILE_NAMES, hit_of, row_hit

from mmsearch.present.json_ import hits_to_json
from mmsearch.records import Chunk, Modality

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/query.schema.json").read_text())
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def check(value: Any, schema: dict[str, Any], place: str = "$") -> None:
    """Check a value against the words of JSON Schema that ours uses."""
    if "$ref" in schema:
        return check(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], place)
    if "const" in schema:
        assert value == schema["const"], place
    if "enum" in schema:
        assert value in schema["enum"], place
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(isinstance(value, KINDS[kind]) for kind in kinds), f"{place}: {value!r}"
        assert not isinstance(value, bool) or "boolean" in kinds, place
    if isinstance(value, int | float):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), place
    if isinstance(value, list):
        for number, inner in enumerate(value):
            check(inner, schema.get("items", {}), f"{place}[{number}]")
    if isinstance(value, dict):
        check_object(value, schema, place)
    return None


def check_object(value: dict[str, Any], schema: dict[str, Any], place: str) -> None:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    assert set(schema.get("required", ())) <= set(value), place
    for name, inner in value.items():
        assert name in known or others is not False, f"{place}.{name} is not in the schema"
        check(inner, known.get(name, others or {}), f"{place}.{name}")


def test_hits_of_every_modality_follow_the_schema(tmp_path: Path) -> None:
    hits = [
        hit_of("/m/a.png", Modality.IMAGE, relevance=0.5),
        hit_of("/m/b.wav", Modality.AUDIO, rank=2, chunk=Chunk(5, 15)),
        hit_of("/m/c.txt", Modality.TEXT, rank=3, chunk=Chunk(0, 4), text="text"),
        row_hit(tmp_path),
    ]
    page = json.loads(hits_to_json({"text": "red", "target": (Modality.IMAGE,), "k": 4}, hits))
    check(page, SCHEMA)
    assert page["query"] == {"text": "red", "target": ["image"], "k": 4}
    assert [hit["chunk"]["unit"] for hit in page["hits"]] == [None, "seconds", "chars", "chars"]
    row = page["hits"][3]
    assert row["part"] == {"role": "caption", "modality": "text", "path": None}
    assert row["text"] == "A red square"
    assert row["item"]["row"] == "7"
    assert row["item"]["columns"]["tags"] == ["red", "square"]


def test_the_schema_refuses_what_it_does_not_know() -> None:
    page = json.loads(hits_to_json({}, [hit_of("/m/a.png", Modality.IMAGE)]))
    page["hits"][0]["extra"] = 1
    with pytest.raises(AssertionError, match="extra is not in the schema"):
        check(page, SCHEMA)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_path_round_trips_to_a_file_that_opens(name: str, tmp_path: Path) -> None:
    path = tmp_path / name.replace("/", "∕")
    path.write_bytes(b"here")
    text = hits_to_json({"image": path}, [hit_of(path, Modality.IMAGE)])
    assert text.isascii() and text.replace("\n", "").isprintable()
    page = json.loads(text)
    for loaded in (page["hits"][0]["item"]["path"], page["query"]["image"]):
        assert Path(loaded).read_bytes() == b"here"
        assert os.fsencode(loaded) == os.fsencode(path)


def test_numbers_that_json_lacks_are_null() -> None:
    hit = hit_of("/m/a.png", Modality.IMAGE, columns={"x": math.nan, "list": (math.inf, 1)})
    page = json.loads(hits_to_json({"weight": np.float32("nan"), "n": np.int64(3)}, [hit]))
    assert page["hits"][0]["item"]["columns"] == {"x": None, "list": [None, 1]}
    assert page["query"] == {"weight": None, "n": 3}


def test_absent_arguments_are_absent() -> None:
    assert json.loads(hits_to_json({"text": "a", "image": None}, []))["query"] == {"text": "a"}
