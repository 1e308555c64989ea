"""Pairs from manifests: which are trained on, which are held out, and what fits what."""

import json
from pathlib import Path

import numpy as np
import pytest
from turned import write_pairs

from mmsearch.errors import UsageError
from mmsearch.records import Modality
from mmsearch.train.pairs import read_pairs
from mmsearch.train.splits import Split


def test_nothing_is_tested_on_what_was_trained_on(tmp_path: Path) -> None:
    """Rows that share a picture, or a source, are all in one split."""
    manifest = write_pairs(tmp_path, 100, place=[n // 4 for n in range(100)])
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    again = [row | {"text": f"again {row['text']}", "place": row["place"]} for row in rows]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows + again))
    (pairing,) = read_pairs([manifest], group="place").pairings
    place = pairing.rows[:, 0] // 4
    kept = {split: set(place[pairing.splits == split]) for split in Split}
    assert sum(map(len, kept.values())) == 25
    assert [len(kept[split]) for split in Split] == [21, 2, 2]
    (drawn,) = read_pairs([manifest]).pairings
    pictures = [set(drawn.of(split).rows[:, 0]) for split in Split]
    assert sum(map(len, pictures)) == 100
    other = read_pairs([manifest], seed=1).pairings[0]
    assert set(other.of(Split.TEST).rows[:, 0]) != pictures[2]
    with pytest.raises(UsageError, match="no row has a column 'town'"):
        read_pairs([manifest], group="town")


def test_a_row_may_say_what_it_is_for(tmp_path: Path) -> None:
    names = ["train"] * 20 + ["dev"] * 5 + ["test"] * 5
    (pairing,) = read_pairs([write_pairs(tmp_path, 30, split=names)]).pairings
    assert [len(pairing.of(split).rows) for split in Split] == [20, 5, 5]
    with pytest.raises(UsageError, match="split 'exam'"):
        read_pairs([write_pairs(tmp_path, 3, split=["exam"] * 3)])


def test_what_rows_say_holds_for_their_group(tmp_path: Path) -> None:
    """Rows that do not say go with those that do; what nobody is for is drawn from training."""
    manifest = write_pairs(tmp_path, 40, split=["test"] * 6 + ["train"] * 34)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    again = [{"image": row["image"], "text": f"again {row['text']}"} for row in rows]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows + again))
    (pairing,) = read_pairs([manifest]).pairings
    pictures = [set(pairing.of(split).rows[:, 0].tolist()) for split in Split]
    assert [len(one) for one in pictures] == [31, 3, 6]
    assert pictures[2] == set(range(6))
    assert not pictures[0] & pictures[1]
    torn = rows + [row | {"split": "test"} for row in rows[-1:]]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in torn))
    with pytest.raises(UsageError, match="row 41 is for test, but row 40, which shares a file"):
        read_pairs([manifest])


def test_rows_without_a_group_are_no_group(tmp_path: Path) -> None:
    places = [None if number % 3 else f"place {number % 12}" for number in range(60)]
    for seed in range(12):
        (pairing,) = read_pairs(
            [write_pairs(tmp_path, 60, place=places)], (), "place", seed
        ).pairings
        assert len(pairing.of(Split.TRAIN).rows) > 30


def test_equal_texts_are_equally_right(tmp_path: Path) -> None:
    manifest = tmp_path / "pairs.jsonl"
    rows = [{"image": f"{n}.png", "text": ["a dog", f"number {n}"]} for n in range(30)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_pairs([manifest])
    assert len(found.parts[Modality.TEXT]) == 31
    (pairing,) = found.pairings
    same = pairing.take(np.array([0, 1, 2, 3])).same().int().tolist()
    # Every picture is of a dog: of the four pairs the first and the third say so.
    assert same == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 1], [1, 0, 1, 1]]
    left, right = pairing.members
    assert pairing.fits(left, right).sum() == 60
    assert pairing.fits(left[3:5], right[:2]).tolist() == [[True, False], [True, False]]
